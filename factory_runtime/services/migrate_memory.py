"""Change a memory's embedding model: build the new one beside, switch to it, go back, drop it.

Searches use the active model all the while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from factory_runtime.domain.errors import ConflictError, FactoryError, NotFoundError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.memory import Collection, MemoryModel, ModelStatus
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.embed_memories import (
    embedded,
    kept_vectors,
    new_vectors,
    save_vectors,
)
from factory_runtime.services.index_memory import BATCH
from factory_runtime.services.memory_lock import Held, hold_memory
from factory_runtime.services.memory_models import Models, OpenedModel, active_of
from factory_runtime.services.memory_turn import take_turn
from factory_runtime.services.outbox import leave
from factory_runtime.services.rebuild_memory import Progress, replace_index, tell_nobody
from factory_runtime.services.topics import MEMORY_DROP_MODEL

_LOG = logging.getLogger("factory.memory")


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """How far a model is.

    Attributes:
        done: memories that have a vector of it.
        total: memories.
    """

    model: MemoryModel
    done: int
    total: int


class Migrator:
    """Changes models: by one process at a time for each tenant."""

    def __init__(self, store: RunStore, clock: Clock, models: Models, worker: str) -> None:
        self._store = store
        self._clock = clock
        self._models = models
        self._worker = worker

    @property
    def handlers(self) -> Mapping[str, Callable[[OutboxMessage], None]]:
        """The topic of models that are dropped."""
        return {MEMORY_DROP_MODEL: self._drop_index}

    def progress(self, tenant_id: str) -> tuple[ModelProgress, ...]:
        """Of all models, in the order of their beginning."""
        with self._store.begin(tenant_id, read_only=True) as tx:
            total = sum(tx.count_memories().values())
            return tuple(
                ModelProgress(model, tx.count_vectors(model.model), total)
                for model in tx.list_models()
            )

    def begin(self, tenant_id: str, embedder: str, by: str) -> MemoryModel:
        """Have an embedder's model beside the active one; as it stands, where it is there already.

        Raises:
            MemoryUnavailableError: the embedder cannot be used here.
        """
        self._models.ensure(tenant_id)
        wanted = self._models.record_of(tenant_id, embedder, ModelStatus.BUILDING)
        with self._store.begin(tenant_id) as tx:
            take_turn(tx, self._clock.now())
            for known in tx.list_models():
                if known.model == wanted.model:
                    return known
            tx.save_model(wanted)
            self._audit(tx, by, "memory.model-begin", wanted)
        return wanted

    def build(
        self, tenant_id: str, model: str, tell: Progress = tell_nobody, most: int = 0
    ) -> bool:
        """Make the vectors that a model lacks, batch by batch; whether it has all of them.

        Between two batches others get at the memory.

        Args:
            tenant_id: whose.
            model: by its name.
            tell: how far it is.
            most: batches to make now; 0 is as many as there are.

        Raises:
            MemoryUnavailableError: the embedder or the index cannot be used.
        """
        batches = 0
        while most == 0 or batches < most:
            with hold_memory(
                self._store, self._clock, tenant_id, self._worker, timedelta(seconds=30)
            ) as held:
                opened = self._models.open(self._get(tenant_id, model))
                if not self._build_some(held, opened):
                    return True
            batches += 1
            at = next(one for one in self.progress(tenant_id) if one.model.model == model)
            tell(model, at.done, at.total)
        return False

    def build_a_while(self, most: int = 20) -> int:
        """Make so many batches, at most, of what each model of each tenant lacks.

        How many are complete. One that cannot be built now hinders no other.
        """
        complete = 0
        for tenant_id in self._store.migrating_tenants():
            for model in self._models.list(tenant_id):
                if model.status is not ModelStatus.ACTIVE:
                    complete += self._try_to_build(model, most)
        return complete

    def _try_to_build(self, model: MemoryModel, most: int) -> bool:
        try:
            return self.build(model.tenant_id, model.model, most=most)
        except FactoryError as error:
            _LOG.warning("%s of %s is built later: %s", model.model, model.tenant_id, error)
            return False

    def switch(self, tenant_id: str, model: str, by: str) -> MemoryModel:
        """Have searches use a model that has all vectors; the one they used is kept.

        Raises:
            NotFoundError: there is no such model.
            ConflictError: it lacks vectors.
            MemoryUnavailableError: the index cannot be used, or another process is at it.
        """
        self._models.open(self._get(tenant_id, model))
        with hold_memory(
            self._store, self._clock, tenant_id, self._worker, timedelta(seconds=10)
        ) as held:
            self._require_vectors(tenant_id, model)
            self._require_rows(held, model)
            switched = self._switch(tenant_id, model, by)
        self._models.forget_read(tenant_id)
        return switched

    def roll_back(self, tenant_id: str, by: str) -> MemoryModel:
        """Have searches use the model that they used before.

        Raises:
            NotFoundError: none is kept.
            ConflictError, MemoryUnavailableError: as ``switch``.
        """
        kept = [one for one in self._models.list(tenant_id) if one.status is ModelStatus.KEPT]
        if not kept:
            raise NotFoundError("no model is kept that searches could go back to")
        last = max(kept, key=lambda one: one.switched_at or one.begun_at)
        return self.switch(tenant_id, last.model, by)

    def drop(self, tenant_id: str, model: str, by: str) -> None:
        """Delete a model's vectors, and by the outbox its index.

        Raises:
            NotFoundError: there is no such model.
            ConflictError: searches use it.
        """
        with self._store.begin(tenant_id) as tx:
            take_turn(tx, self._clock.now())
            dropped = _get(tx, model)
            if dropped.status is ModelStatus.ACTIVE:
                raise ConflictError(f"searches use {model}", hint="switch to another one first")
            tx.drop_vectors(model)
            tx.drop_model(model)
            payload = {"model": model, "dimensions": dropped.dimensions}
            leave(tx, MEMORY_DROP_MODEL, new_id("drop"), payload, self._clock.now())
            self._audit(tx, by, "memory.model-drop", dropped)

    def _drop_index(self, message: OutboxMessage) -> None:
        tenant_id, model = message.tenant_id, str(message.payload["model"])
        with hold_memory(self._store, self._clock, tenant_id, self._worker):
            with self._store.begin(tenant_id) as tx:
                if any(one.model == model for one in tx.list_models()):
                    return  # begun anew meanwhile: its vectors are made again, under the same ids
                tx.drop_vectors(model)  # that an indexer has kept since
            self._models.index_of_name(model, int(message.payload["dimensions"])).drop(tenant_id)

    def _get(self, tenant_id: str, model: str) -> MemoryModel:
        with self._store.begin(tenant_id, read_only=True) as tx:
            return _get(tx, model)

    def _build_some(self, held: Held, opened: OpenedModel) -> bool:
        """Whether there was something to make."""
        tenant_id = held.tenant_id
        with self._store.begin(tenant_id, durable=False) as tx:
            memories = tx.memories_without_vector(opened.name, BATCH)
        if not memories:
            return False
        kept = kept_vectors(self._store, tenant_id, opened.name, memories)
        new = new_vectors(opened.embedder, memories, kept)
        held.renew()  # embedding may have taken a while
        opened.index.upsert(tenant_id, embedded(memories, {**kept, **new}))
        save_vectors(self._store, tenant_id, opened.embedder, memories, new)
        return True

    def _require_vectors(self, tenant_id: str, model: str) -> None:
        with self._store.begin(tenant_id, durable=False) as tx:
            without = tx.memories_without_vector(model, BATCH)
            # What is not indexed yet gets its vectors of all models when it is.
            if len(without) < BATCH and all(one.indexed_at is None for one in without):
                return
            missing = sum(tx.count_memories().values()) - tx.count_vectors(model)
        raise ConflictError(
            f"{missing} memories have no vector of {model} yet",
            hint=f"build it first: factory memory model build {model} --wait",
        )

    def _require_rows(self, held: Held, model: str) -> None:
        """Make its index anew where it does not have a row for each vector: a try may have failed."""
        opened = self._models.open(self._get(held.tenant_id, model))
        with self._store.begin(held.tenant_id, read_only=True) as tx:
            wanted = tx.count_vectors(model)
        rows = sum(opened.index.count(held.tenant_id, one) for one in Collection)
        if rows != wanted:
            replace_index(held, opened)
        held.renew()

    def _switch(self, tenant_id: str, model: str, by: str) -> MemoryModel:
        now = self._clock.now()
        with self._store.begin(tenant_id) as tx:
            take_turn(tx, self._clock.now())
            wanted, before = _get(tx, model), active_of(tx.list_models())
            if wanted.status is ModelStatus.ACTIVE:
                return wanted
            if before is not None:
                tx.save_model(replace(before, status=ModelStatus.KEPT))
            switched = replace(wanted, status=ModelStatus.ACTIVE, switched_at=now)
            tx.save_model(switched)
            self._audit(tx, by, "memory.model-switch", switched)
        return switched

    def _audit(self, tx: RunTransaction, by: str, action: str, model: MemoryModel) -> None:
        leave_audit(tx, by, action, model.model, {"embedder": model.embedder}, self._clock.now())


def _get(tx: RunTransaction, model: str) -> MemoryModel:
    found = {one.model: one for one in tx.list_models()}
    if model not in found:
        known = ", ".join(found) or "none"
        raise NotFoundError(f"the memory has no model {model!r}", hint=f"there are: {known}")
    return found[model]
