"""The memory: its indexes, their embedders, and who fills, keeps and searches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from factory_runtime.bootstrap.ground import Ground
from factory_runtime.bootstrap.opened_once import opened_once
from factory_runtime.domain.errors import SettingsError
from factory_runtime.ports import Cutter, Embedder, MemoryIndex
from factory_runtime.telemetry import worker_name

if TYPE_CHECKING:
    from factory_runtime.memory.disk import MemoryDisk
    from factory_runtime.memory.lance import Place
    from factory_runtime.ports.summariser import Summariser
    from factory_runtime.services.context_package import ContextDesk
    from factory_runtime.services.drain_outbox import Drained
    from factory_runtime.services.forget_index import Forgetter
    from factory_runtime.services.index_memory import Indexer
    from factory_runtime.services.memory_models import Models
    from factory_runtime.services.migrate_memory import Migrator
    from factory_runtime.services.rebuild_memory import Rebuilder
    from factory_runtime.services.recall import Recaller
    from factory_runtime.services.write_prose import Written


class MemoryParts(Ground):
    """What learns, and what asks what was learned."""

    @opened_once
    def embedder(self) -> Embedder:
        return self.open_embedder(self.settings.embedder)

    def open_embedder(self, name: str) -> Embedder:
        """The embedder of that name, always the same one: a tenant may have two models at once.

        Raises:
            SettingsError: no embedder is called so, or it lacks a setting.
        """
        from factory_runtime.memory.embedders.opened import open_embedder

        opened = self._embedders.get(name)
        if opened is None:
            opened = self._embedders.setdefault(name, open_embedder(name, self.settings))
        return opened

    @opened_once
    def _embedders(self) -> dict[str, Embedder]:
        return {}

    @opened_once
    def memory(self) -> MemoryIndex:
        """Of the vectors of the settings' embedder; a tenant's own may be another: see ``models``."""
        return self.open_memory(self.embedder)

    def open_memory(self, embedder: Embedder) -> MemoryIndex:
        """The index of an embedder's vectors."""
        from factory_runtime.memory.lance import LanceMemoryIndex

        return LanceMemoryIndex(self.memory_place, embedder)

    @opened_once
    def memory_place(self) -> Place:
        """Where the memory's index is.

        Raises:
            SettingsError: the settings of an address do not go together.
        """
        from factory_runtime.memory.lance.chosen import chosen_place

        return chosen_place(self.settings)

    @opened_once
    def memory_disk(self) -> MemoryDisk:
        """What the memory's index takes."""
        from factory_runtime.memory.disk import MemoryDisk

        return MemoryDisk(lambda: self.memory_place.ground, self.settings.memory_disk_mib)

    @opened_once
    def models(self) -> Models:
        """The embedding models that tenants' memories have."""
        from factory_runtime.ports.memory import model_name
        from factory_runtime.services.memory_models import Models

        default = self.settings.embedder
        indexes: dict[str, MemoryIndex] = {}

        def open_embedder(name: str) -> Embedder:
            return self.embedder if name == default else self.open_embedder(name)

        def open_index(embedder: Embedder) -> MemoryIndex:
            name = model_name(embedder)
            if name not in indexes:
                indexes[name] = self.memory if is_default(name) else self.open_memory(embedder)
            return indexes[name]

        def is_default(name: str) -> bool:
            with suppress(SettingsError):  # another model goes on where the default's lacks a key
                return name == model_name(self.embedder)
            return False

        return Models(lambda: self.store, self.clock, default, open_embedder, open_index)

    @opened_once
    def recaller(self) -> Recaller:
        """Searches memories; an index is opened when there is something to look for."""
        from factory_runtime.services.recall import Recaller

        return Recaller(
            self.find_store,
            self.clock,
            lambda tenant_id: self.models.of(tenant_id).pair,
            self.settings.memory_shared_tenant,
            lambda tenant_id: self.policies.shared_memory_of(tenant_id),
        )

    @opened_once
    def context_desk(self) -> ContextDesk:
        """Puts together what is known about a task."""
        from factory_runtime.services.context_package import ContextDesk

        return ContextDesk(self.store, self.clock, self.recaller)

    @opened_once
    def indexer(self) -> Indexer:
        """Brings the memory's indexes up to its records."""
        from factory_runtime.services.index_memory import Indexer

        return Indexer(self.store, self.clock, self.models, worker_name())

    @opened_once
    def forgetter(self) -> Forgetter:
        """Takes what was forgotten out of the memory's indexes."""
        from factory_runtime.services.forget_index import Forgetter

        return Forgetter(self.store, self.clock, self.models, worker_name())

    @opened_once
    def rebuilder(self) -> Rebuilder:
        """Makes the memory's indexes anew."""
        from factory_runtime.services.rebuild_memory import Rebuilder

        return Rebuilder(self.store, self.clock, self.models, worker_name())

    @opened_once
    def migrator(self) -> Migrator:
        """Changes the memory's embedding models."""
        from factory_runtime.services.migrate_memory import Migrator

        return Migrator(self.store, self.clock, self.models, worker_name())

    @property
    def learning_handlers(self) -> Mapping[str, Callable[[Any], None]]:
        """What runs have taught, but for what may take long: see ``learn_code``."""
        from factory_runtime.services.learn_run import Learner

        return {**Learner(self.store, self.storage, self.clock).handlers, **self.indexer.handlers}

    @property
    def asked_handlers(self) -> Mapping[str, Callable[[Any], None]]:
        """What somebody has asked the memory for, and may be waiting for."""
        return {**self.forgetter.handlers, **self.migrator.handlers}

    @opened_once
    def cutter(self) -> Cutter:
        """Cuts files into pieces."""
        from factory_runtime.memory.cutting.cutter import FileCutter

        return FileCutter()

    def learn(self, within: timedelta | None = None) -> Drained:
        """Do the memory's part of the outbox, and index what is not indexed.

        Args:
            within: no batch is indexed that would begin later than this; None is no limit.
        """
        from factory_runtime.services.drain_outbox import drain_outbox

        handlers = {**self.learning_handlers, **self.asked_handlers}
        drained = drain_outbox(self.store, self.clock, handlers, worker_name())
        self.indexer.catch_up_all(within)
        return drained

    def learn_code(self, stopping: Callable[[], bool] = lambda: False) -> Drained:
        """Learn what runs have generated: it may take long, and is for who waits for nothing.

        It ends early once ``stopping``, and goes on there the next time.
        """
        from factory_runtime.services.drain_outbox import drain_outbox
        from factory_runtime.services.learn_code import CodeLearner

        learner = CodeLearner(self.store, self.storage, self.clock, lambda: self.cutter, stopping)
        drained = drain_outbox(self.store, self.clock, learner.handlers, worker_name())
        self.indexer.catch_up_all()
        return drained

    def write_prose(self) -> Written:
        """Have a model write about what was learned, where one is named; for who waits for nothing."""
        from factory_runtime.services.write_prose import ProseWriter, Written

        if self.settings.summary_model is None:
            return Written()
        budget, worker = self.settings.summary_budget, worker_name()
        writer = ProseWriter(self.store, self.clock, lambda: self.summariser, budget, worker)
        written = writer.write_some()
        self.indexer.catch_up_all()
        return written

    @opened_once
    def summariser(self) -> Summariser:
        """The model that writes.

        Raises:
            SettingsError: none is named, or it lacks a setting.
        """
        from factory_runtime.memory.prose import open_summariser

        return open_summariser(self.settings)
