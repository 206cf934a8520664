"""Which embedding models a tenant's memory has, each opened with the index of its vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from factory_runtime.domain.errors import FactoryError, MemoryUnavailableError
from factory_runtime.domain.memory import MemoryModel, ModelStatus
from factory_runtime.ports import Clock, Embedder, MemoryIndex, RunStore
from factory_runtime.ports.memory import model_name
from factory_runtime.services.memory_turn import take_turn

_FRESH_SECONDS = 1.0
"""How long a search takes the active model as it was read: a switch is seen as soon as that."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model of a tenant's memory, ready to be used."""

    record: MemoryModel
    embedder: Embedder
    index: MemoryIndex

    @property
    def name(self) -> str:
        return self.record.model

    @property
    def pair(self) -> tuple[Embedder, MemoryIndex]:
        return self.embedder, self.index


@dataclass
class Unopened:
    """Stands for an embedder where only its index is wanted: that needs no model to be installed."""

    model: str
    version: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Raises MemoryUnavailableError."""
        del texts
        raise MemoryUnavailableError(f"the model {self.model} is not opened")


class Models:
    """Opens models.

    Args:
        store: the record.
        clock: the time.
        default: the embedder of a tenant that has no model yet, as the settings name it.
        open_embedder: by that name; it keeps what it has opened.
        open_index: of an embedder's vectors; it may keep what it has opened.
    """

    def __init__(
        self,
        store: Callable[[], RunStore],
        clock: Clock,
        default: str,
        open_embedder: Callable[[str], Embedder],
        open_index: Callable[[Embedder], MemoryIndex],
    ) -> None:
        self._store = store
        self._clock = clock
        self.default = default
        self._open_embedder = open_embedder
        self._open_index = open_index
        self._active: dict[str, tuple[float, OpenedModel]] = {}

    def of(self, tenant_id: str) -> OpenedModel:
        """What searches of the tenant's memory use; what it was a second ago at the latest.

        Raises:
            MemoryUnavailableError: its embedder cannot be used here, or makes other vectors by now.
        """
        now = time.monotonic()
        read_at, known = self._active.get(tenant_id, (0.0, None))
        if known is not None and now - read_at < _FRESH_SECONDS:
            return known
        active = active_of(self.list(tenant_id))
        opened = self._opened_default(tenant_id) if active is None else self.open(active)
        self._active[tenant_id] = (now, opened)
        return opened

    def list(self, tenant_id: str) -> tuple[MemoryModel, ...]:
        """All that the tenant has, in the order of their beginning."""
        with self._store().begin(tenant_id, read_only=True) as tx:
            return tx.list_models()

    def ensure(self, tenant_id: str) -> tuple[MemoryModel, ...]:
        """All that the tenant has, the active one first; the settings' one where it has none.

        Raises:
            MemoryUnavailableError: the settings' embedder cannot be used.
        """
        found = self.list(tenant_id)
        if active_of(found) is None:
            # Opened before the transaction: it may take seconds.
            default = self._opened_default(tenant_id).record
            with self._store().begin(tenant_id) as tx:
                take_turn(tx, self._clock.now())
                if active_of(found := tx.list_models()) is None:
                    tx.save_model(default)
                    found = tx.list_models()
        return tuple(sorted(found, key=lambda one: one.status is not ModelStatus.ACTIVE))

    def open(self, record: MemoryModel) -> OpenedModel:
        """A model with its embedder.

        Raises:
            MemoryUnavailableError: its embedder cannot be used here, or makes other vectors by now.
        """
        embedder = self.embedder(record.embedder)
        if (made := model_name(embedder)) != record.model:
            raise MemoryUnavailableError(
                f"the memory has vectors of {record.model}, and {record.embedder!r} is {made} here",
                hint=f"make the new ones: factory memory model build {record.embedder} --switch",
            )
        return OpenedModel(record, embedder, self._open_index(embedder))

    def embedder(self, name: str) -> Embedder:
        """An embedder by the settings' name.

        Raises:
            MemoryUnavailableError: it cannot be used here.
        """
        try:
            return self._open_embedder(name)
        except MemoryUnavailableError:
            raise
        except FactoryError as exc:
            raise MemoryUnavailableError(
                f"the embedder {name!r} cannot be used: {exc}",
                hint=exc.hint or "set FACTORY_EMBEDDER and what belongs to it",
            ) from exc

    def open_or_stand_in(self, record: MemoryModel) -> OpenedModel:
        """A model; with ``Unopened`` for its embedder where that cannot be used here."""
        try:
            return self.open(record)
        except MemoryUnavailableError:
            stand_in = _stand_in(record.model, record.dimensions)
            return OpenedModel(record, stand_in, self._open_index(stand_in))

    def index_of(self, record: MemoryModel) -> MemoryIndex:
        """The index alone: it can be read and taken away where the model is no longer installed."""
        return self.index_of_name(record.model, record.dimensions)

    def index_of_name(self, model: str, dimensions: int) -> MemoryIndex:
        """Likewise, of a model that the tenant has no more."""
        return self._open_index(_stand_in(model, dimensions))

    def index_of_default(self) -> MemoryIndex:
        """The index that a tenant without a model would have.

        Raises:
            MemoryUnavailableError: the settings' embedder cannot be used.
        """
        return self._open_index(self.embedder(self.default))

    def record_of(self, tenant_id: str, embedder_name: str, status: ModelStatus) -> MemoryModel:
        """What is kept of a model that begins now.

        Raises:
            MemoryUnavailableError: its embedder cannot be used here.
        """
        embedder, now = self.embedder(embedder_name), self._clock.now()
        return MemoryModel(
            tenant_id,
            model_name(embedder),
            embedder_name,
            embedder.dimensions,
            status,
            begun_at=now,
            switched_at=now if status is ModelStatus.ACTIVE else None,
        )

    def forget_read(self, tenant_id: str) -> None:
        """Read the tenant's active model anew with the next search of this process."""
        self._active.pop(tenant_id, None)

    def _opened_default(self, tenant_id: str) -> OpenedModel:
        record = self.record_of(tenant_id, self.default, ModelStatus.ACTIVE)
        return self.open(record)


def _stand_in(model: str, dimensions: int) -> Unopened:
    name, _, version = model.rpartition("/")
    return Unopened(name, version, dimensions)


def active_of(models: Sequence[MemoryModel]) -> MemoryModel | None:
    """The one that searches use."""
    return next((one for one in models if one.status is ModelStatus.ACTIVE), None)
