"""Take what was forgotten out of a tenant's indexes, once it is out of the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from factory_runtime.domain.memory import ForgetScope, Memory, MemoryModel
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import Clock, MemoryIndex, RunStore
from factory_runtime.services.embed_memories import embedded, kept_vectors
from factory_runtime.services.forget_memory import Refold, erase
from factory_runtime.services.index_memory import BATCH
from factory_runtime.services.memory_lock import Held, hold_memory
from factory_runtime.services.memory_models import Models
from factory_runtime.services.refold import refold as refold_patterns
from factory_runtime.services.topics import MEMORY_FORGET

_MESSAGES_AT_ONCE = 100
"""That are handled together, of some hundred ids each: filters can be too long."""


class Forgetter:
    """Handles what was forgotten: takes it out of every index of the tenant.

    Of what was only begun to be forgotten, it erases the rest.
    """

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        models: Models,
        worker: str,
        refold: Refold = refold_patterns,
    ) -> None:
        self._store = store
        self._clock = clock
        self._models = models
        self._worker = worker
        self._refold = refold
        self._done = set[str]()

    @property
    def handlers(self) -> Mapping[str, Callable[[OutboxMessage], None]]:
        return {MEMORY_FORGET: self.forget}

    def forget(self, message: OutboxMessage) -> None:
        """Take it out, also of what the index keeps of earlier versions; or go on erasing.

        Raises:
            MemoryUnavailableError: the index cannot be written, or another process is at it.
        """
        tenant_id, told = message.tenant_id, message.payload
        if "scope" in told:
            scope, key, by = ForgetScope(told["scope"]), str(told["key"]), str(told["by"])
            erase(self._store, self._clock, self._refold, tenant_id, scope, key, by)
            return
        if message.id in self._done:
            return
        with hold_memory(self._store, self._clock, tenant_id, self._worker) as held:
            if told.get("all"):
                self._drop_all(held)
                return
            messages = self._waiting(message)
            ids = {one for each in messages for one in each.payload["ids"]}
            digests = {one for each in messages for one in each.payload["digests"]}
            since = min(each.created_at for each in messages)
            self._forget(held, sorted(ids), sorted(digests), since)
            self._done = {each.id for each in messages}

    def _waiting(self, message: OutboxMessage) -> list[OutboxMessage]:
        """The message, and others like it of its tenant: an index is written anew for all at once."""
        waiting = self._store.due_messages(
            self._clock.now(), limit=_MESSAGES_AT_ONCE, topics=(MEMORY_FORGET,)
        )
        alike = (one for one in waiting if one.tenant_id == message.tenant_id)
        return [message, *(one for one in alike if "ids" in one.payload and one.id != message.id)]

    def _forget(
        self, held: Held, ids: Sequence[str], digests: Sequence[str], since: datetime
    ) -> None:
        with self._store.begin(held.tenant_id) as tx:
            tx.overwrite_deleted()
            left = tx.find_memories(ids)
            # An indexer that was at them may have kept one since.
            tx.drop_unused_vectors(digests)
            # And a run have drawn from one. A pattern that does not hold any more keeps its name.
            if tx.forgotten_since(since):
                tx.unname_uses(set(ids).difference(one.id for one in left))
            indexed = [one for one in left if one.indexed_at is not None]
        models = self._models.list(held.tenant_id)
        for index in self._indexes(models):
            held.renew()
            with held.lasting():
                index.forget(held.tenant_id, ids)
        # After all of them: an index may take rows out of those of other models too.
        for begin in range(0, len(indexed), BATCH):
            for model in models:
                self._put_back(held, model, indexed[begin : begin + BATCH])

    def _put_back(self, held: Held, model: MemoryModel, memories: Sequence[Memory]) -> None:
        held.renew()
        vectors = kept_vectors(self._store, held.tenant_id, model.model, memories)
        there = [one for one in memories if one.text_digest in vectors]
        self._models.index_of(model).upsert(held.tenant_id, embedded(there, vectors))

    def _indexes(self, models: Sequence[MemoryModel]) -> list[MemoryIndex]:
        """Of a tenant without models as well: an earlier release may have left it one."""
        indexes = [self._models.index_of(model) for model in models]
        return indexes or [self._models.index_of_default()]

    def _drop_all(self, held: Held) -> None:
        models = self._models.list(held.tenant_id)
        with self._store.begin(held.tenant_id) as tx:
            tx.overwrite_deleted()
            tx.mark_all_unindexed(self._clock.now())  # what was learned since
            for model in models:
                tx.drop_vectors(model.model)
        for index in self._indexes(models):
            held.renew()
            index.drop_all(held.tenant_id)
