"""Make a tenant's indexes anew from the record, without embedding anything again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from factory_runtime.domain.memory import Embedded, Memory, ModelStatus
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.embed_memories import (
    embedded,
    kept_vectors,
    new_vectors,
    save_vectors,
)
from factory_runtime.services.index_memory import BATCH
from factory_runtime.services.memory_lock import Held, hold_memory
from factory_runtime.services.memory_models import Models, OpenedModel, Unopened

Edition = tuple[int, datetime | None, str]

Progress = Callable[[str, int, int], None]
"""Told of the model, how many rows are in, and how many there are."""


def tell_nobody(model: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the indexes are made of now.

    Attributes:
        memories: in the index that searches use.
        models: how many indexes were made.
        embedded: texts that had no vector.
    """

    tenant_id: str
    memories: int
    models: int
    embedded: int


class Rebuilder:
    """Makes indexes anew. Killed on the way, what it has embedded is kept.

    Searches find what was there before, where that can be read, until a model's rows are all in.
    """

    def __init__(self, store: RunStore, clock: Clock, models: Models, worker: str) -> None:
        self._store = store
        self._clock = clock
        self._models = models
        self._worker = worker

    def rebuild(
        self,
        tenant_id: str,
        tell: Progress = tell_nobody,
        patience: timedelta = timedelta(0),
    ) -> Rebuilt:
        """Make all indexes of the tenant anew; of one that has no memories they are taken away.

        A model that searches do not use, and that cannot be used here, gets the rows that it has
        vectors of.

        Raises:
            MemoryUnavailableError: an index cannot be written, the active model cannot be used and
                lacks vectors, or another process is at it for longer than ``patience``.
        """
        with hold_memory(self._store, self._clock, tenant_id, self._worker, patience) as held:
            with self._store.begin(tenant_id) as tx:
                has_any = bool(tx.count_memories())
                # Killed from here on, the indexer puts in what is not in.
                tx.mark_all_unindexed(self._clock.now())
            return self._replace(held, tell) if has_any else self._drop(held)

    def tenants(self) -> tuple[str, ...]:
        """Those that have memories, or an index, in the order of names."""
        known = self._models.index_of_default().tenants()
        return tuple(sorted({*self._store.remembering_tenants(), *known}))

    def _drop(self, held: Held) -> Rebuilt:
        models = self._models.list(held.tenant_id)
        indexes = [self._models.index_of(model) for model in models]
        for index in indexes or [self._models.index_of_default()]:
            index.drop_all(held.tenant_id)
        return Rebuilt(held.tenant_id, 0, len(models), 0)

    def _replace(self, held: Held, tell: Progress) -> Rebuilt:
        models = self._models.ensure(held.tenant_id)
        rows = new = 0
        for model in models:
            is_active = model.status is ModelStatus.ACTIVE
            opened = self._models.open(model) if is_active else self._models.open_or_stand_in(model)
            replaced = replace_index(held, opened, tell)
            new += replaced.embedded
            if is_active:
                rows = replaced.rows
                self._mark(held.tenant_id, replaced.editions)
        return Rebuilt(held.tenant_id, rows, len(models), new)

    def _mark(self, tenant_id: str, seen: Mapping[str, Edition]) -> None:
        """Those are indexed that are still what was put in."""
        ids = list(seen)
        for begin in range(0, len(ids), BATCH):
            with self._store.begin(tenant_id, durable=False) as tx:
                found = tx.find_memories(ids[begin : begin + BATCH])
                same = [one for one in found if seen[one.id] == one.edition]
                tx.mark_indexed(same, self._clock.now())


@dataclass(frozen=True, slots=True)
class Replaced:
    """An index that was made anew.

    Attributes:
        embedded: texts that had no vector.
        editions: of the memories that were put in, by id.
    """

    rows: int
    embedded: int
    editions: Mapping[str, Edition]


def replace_index(held: Held, model: OpenedModel, tell: Progress = tell_nobody) -> Replaced:
    """Make one model's index anew.

    Raises:
        MemoryUnavailableError: it cannot be written, or vectors are missing and cannot be made.
    """
    filling = _Filling(held, model, tell)
    with held.lasting():
        rows = model.index.replace(held.tenant_id, filling.rows())
    return Replaced(rows, filling.embedded, filling.seen)


class _Filling:
    """Reads what an index is made of, a batch at a time.

    Attributes:
        seen: the editions of what was given, by id.
        embedded: texts that had no vector yet.
    """

    def __init__(self, held: Held, model: OpenedModel, tell: Progress) -> None:
        self._held = held
        self._model = model
        self._tell = tell
        self.seen: dict[str, Edition] = {}
        self.embedded = 0

    def rows(self) -> Iterator[Embedded]:
        with self._held.store.begin(self._held.tenant_id, read_only=True) as tx:
            total = sum(tx.count_memories().values())
        for memories in self._batches():
            self._held.renew()
            yield from self._with_vectors(memories)
            self.seen |= {memory.id: memory.edition for memory in memories}
            self._tell(self._model.name, len(self.seen), total)
        # Whoever has taken it over since may have taken out what was just read.
        self._held.renew()

    def _batches(self) -> Iterator[tuple[Memory, ...]]:
        after: str | None = None
        while True:
            with self._held.store.begin(self._held.tenant_id, read_only=True) as tx:
                memories = tx.list_memories(limit=BATCH, after_id=after)
            if not memories:
                return
            yield memories
            after = memories[-1].id

    def _with_vectors(self, memories: tuple[Memory, ...]) -> list[Embedded]:
        store, tenant_id, embedder = self._held.store, self._held.tenant_id, self._model.embedder
        kept = kept_vectors(store, tenant_id, self._model.name, memories)
        if isinstance(embedder, Unopened):
            return embedded([one for one in memories if one.text_digest in kept], kept)
        new = new_vectors(embedder, memories, kept)
        save_vectors(store, tenant_id, embedder, memories, new)
        self.embedded += len(new)
        return embedded(memories, {**kept, **new})
