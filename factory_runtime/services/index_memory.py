"""Bring the index up to what the records say: by one process at a time for each tenant."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from factory_runtime.domain.errors import FactoryError, MemoryUnavailableError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.memory import Memory, MemoryModel, ModelStatus
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.embed_memories import (
    Vector,
    embedded,
    kept_vectors,
    new_vectors,
    save_vectors,
)
from factory_runtime.services.memory_lock import Held, try_memory
from factory_runtime.services.memory_models import Models, OpenedModel
from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import MEMORY_INDEX

BATCH = 200
"""Memories that are embedded together, and put in by one commit."""

OPTIMIZE_AFTER = 40
"""Commits: each leaves files behind, and makes the next search a little slower."""

KEEP = timedelta(seconds=45)
"""Versions of the index that are younger stay, for who may still be reading them: a search is given up
after 30 seconds, and is made once more where its version has gone; who reads for longer holds the lock.

No longer: each time it is put in order all of it is written anew, so what stays beside it would grow
with the square of the runs of that time.
"""

A_WHILE = timedelta(seconds=20)
"""How long is indexed beside other work; what takes longer is for who waits for nothing."""

_ALL_THERE_ARE = timedelta(days=1)
"""No message is put off for longer."""

_RETRY_BESIDE = timedelta(minutes=1)
"""How long a model is left alone that searches do not use, and that failed."""

_LOG = logging.getLogger("factory.memory")


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What was done of what the index did not have.

    Attributes:
        indexed: memories.
        busy: tenants that another process is at: it does what is left.
        failed: tenants whose index or embedder cannot be used now; it is tried again later.
    """

    indexed: int = 0
    busy: int = 0
    failed: int = 0


class Indexer:
    """Brings indexes up to date.

    The record was written first. Killed anywhere between that, the vectors and the index, whoever
    comes next goes on from there: an upsert repeated is one row.
    """

    def __init__(self, store: RunStore, clock: Clock, models: Models, worker: str) -> None:
        self._store = store
        self._clock = clock
        self._models = models
        self._worker = worker
        self._left_alone: dict[tuple[str, str], datetime] = {}

    @property
    def handlers(self) -> Mapping[str, Callable[[OutboxMessage], None]]:
        """The topic of tenants whose indexing has failed."""
        return {MEMORY_INDEX: self._try_again}

    def catch_up_all(self, within: timedelta | None = None) -> CaughtUp:
        """Catch up for every tenant that has something to index. One that fails hinders no other.

        It is left to the outbox then, which waits longer with each try: no run pays for it.

        Args:
            within: no batch is begun later than this after the first one; None is no limit.
        """
        indexed = busy = failed = 0
        until = math.inf if within is None else _in(within)
        waiting = self._store.unindexed_tenants()
        put_off = self._put_off() if waiting else frozenset[str]()
        for tenant_id in (one for one in waiting if one not in put_off):
            try:
                caught = self.catch_up(tenant_id, until)
            except Exception as error:
                self._leave_for_later(tenant_id, error)
                failed += 1
            else:
                indexed, busy = indexed + caught.indexed, busy + caught.busy
            if time.monotonic() >= until:
                break
        return CaughtUp(indexed, busy, failed)

    def catch_up(self, tenant_id: str, until: float = math.inf) -> CaughtUp:
        """Index all that the tenant's index does not have as it is now.

        Where another process is at it, that one does it: it looks again after it has given the lock
        back, so nothing is left that was recorded meanwhile.

        Args:
            tenant_id: whose.
            until: when to begin no other batch, as ``time.monotonic`` has it.

        Raises:
            MemoryUnavailableError: the embedder or the index cannot be used.
        """
        indexed = 0
        while True:
            with try_memory(self._store, self._clock, tenant_id, self._worker) as held:
                if held is None:
                    return CaughtUp(indexed, busy=1)
                indexed += self._index(held, until)
            if time.monotonic() >= until or not self._is_behind(tenant_id):
                return CaughtUp(indexed)

    def _is_behind(self, tenant_id: str) -> bool:
        with self._store.begin(tenant_id, read_only=True) as tx:
            return tx.unindexed_line() is not None

    def _try_again(self, message: OutboxMessage) -> None:
        if self.catch_up(message.tenant_id, _in(A_WHILE)).busy:
            # Whoever is at it may fail as well, and trusts this message to be there then.
            raise MemoryUnavailableError("another process is at the memory")

    def _put_off(self) -> frozenset[str]:
        """Those that have failed: the outbox has them."""
        later = self._clock.now() + _ALL_THERE_ARE
        waiting = self._store.due_messages(later, limit=10_000, topics=(MEMORY_INDEX,))
        return frozenset(message.tenant_id for message in waiting)

    def _leave_for_later(self, tenant_id: str, error: Exception) -> None:
        level = logging.WARNING if isinstance(error, FactoryError) else logging.ERROR
        _LOG.log(
            level, "the memory of %s is indexed later: %s", tenant_id, error, exc_info=level > 30
        )
        with self._store.begin(tenant_id) as tx:
            leave(tx, MEMORY_INDEX, new_id("index"), {}, self._clock.now(), timedelta(seconds=2))

    def _index(self, held: Held, until: float) -> int:
        """Index batch by batch until nothing is left, or it is time to stop; how many memories."""
        indexed = 0
        while memories := self._next(held.tenant_id):
            held.renew()
            models = self._models.ensure(held.tenant_id)
            opened = [self._open(one) for one in models]
            put_in = [one for one in opened if self._put_in(held, one, memories)]
            self._mark(held.tenant_id, put_in, memories)
            indexed += len(memories)
            if time.monotonic() >= until:
                break
        if indexed:
            self._tidy(held)
        return indexed

    def _next(self, tenant_id: str) -> tuple[Memory, ...]:
        with self._store.begin(tenant_id, durable=False) as tx:
            return tx.unindexed_memories(BATCH)

    def _open(self, model: MemoryModel) -> OpenedModel:
        """The model; one that searches do not use without its embedder, if that cannot be used."""
        is_active = model.status is ModelStatus.ACTIVE
        return self._models.open(model) if is_active else self._models.open_or_stand_in(model)

    def _put_in(self, held: Held, model: OpenedModel, memories: Sequence[Memory]) -> bool:
        """Put a batch into one model's index; False where searches do not use it, and it failed."""
        kept = kept_vectors(self._store, held.tenant_id, model.name, memories)
        vectors = {**kept, **self._new_vectors(held, model, memories, kept)}
        # What lacks a vector gets it from whoever builds the model, or before it is switched to.
        there = [memory for memory in memories if memory.text_digest in vectors]
        try:
            model.index.upsert(held.tenant_id, embedded(there, vectors))
        except FactoryError as error:
            self._leave_alone(model.record, error)
            return False
        return True

    def _new_vectors(
        self,
        held: Held,
        model: OpenedModel,
        memories: Sequence[Memory],
        kept: Mapping[str, Vector],
    ) -> Mapping[str, Vector]:
        """Those of the others; none where searches do not use the model, and it failed."""
        if self._is_left_alone(model.record):
            return {}
        try:
            new = new_vectors(model.embedder, memories, kept)
        except FactoryError as error:
            self._leave_alone(model.record, error)
            return {}
        save_vectors(self._store, held.tenant_id, model.embedder, memories, new)
        held.renew()  # embedding may have taken a while
        return new

    def _is_left_alone(self, model: MemoryModel) -> bool:
        now = self._clock.now()
        is_active = model.status is ModelStatus.ACTIVE
        return not is_active and now < self._left_alone.get(_key(model), now)

    def _leave_alone(self, model: MemoryModel, error: FactoryError) -> None:
        """Go on without it; but where searches use it, that is raised."""
        if model.status is ModelStatus.ACTIVE:
            raise error
        _LOG.warning("%s of %s lacks vectors for now: %s", model.model, model.tenant_id, error)
        self._left_alone[_key(model)] = self._clock.now() + _RETRY_BESIDE

    def _mark(
        self, tenant_id: str, models: Sequence[OpenedModel], memories: Sequence[Memory]
    ) -> None:
        """The index has them; but not what was deleted meanwhile, or has another text by now."""
        with self._store.begin(tenant_id) as tx:
            tx.mark_indexed(memories, self._clock.now())
            found = tx.find_memories([memory.id for memory in memories])
            there = {memory.id: memory.edition for memory in found}
            old = [one for one in memories if there.get(one.id) != one.edition]
            gone = [memory.id for memory in old if memory.id not in there]
            if gone:
                tx.overwrite_deleted()
            # While this process was stopped another one may have put in what it has undone now.
            tx.mark_unindexed([memory.id for memory in old])
            tx.drop_unused_vectors({memory.text_digest for memory in old})
        for model in models if gone else ():
            model.index.forget(tenant_id, gone)

    def _tidy(self, held: Held) -> None:
        """Put the index in order where it has got many commits; the upkeep does it if this fails."""
        active = self._models.of(held.tenant_id)
        try:
            if active.index.commits(held.tenant_id) >= OPTIMIZE_AFTER:
                held.renew()
                with held.lasting():
                    active.index.optimize(held.tenant_id, KEEP)
        except MemoryUnavailableError as error:
            _LOG.warning("the memory of %s is put in order later: %s", held.tenant_id, error)


def _in(wait: timedelta) -> float:
    return time.monotonic() + wait.total_seconds()


def _key(model: MemoryModel) -> tuple[str, str]:
    return model.tenant_id, model.model
