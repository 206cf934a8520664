"""Forget what was learned of a run, of a project, or of a tenant: everywhere, and for good."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from factory_runtime.domain.errors import InputError, NotFoundError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.memory import (
    Erased,
    ForgetScope,
    Forgotten,
    Kind,
    Memory,
    MemoryModel,
    ObservationKind,
)
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import Clock, MemoryIndex, RunFilter, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.drop_memories import drop_memories, leave_forget
from factory_runtime.services.embed_memories import embedded, kept_vectors
from factory_runtime.services.learn_code import found_elsewhere
from factory_runtime.services.memory_lock import Held, hold_memory
from factory_runtime.services.memory_models import Models
from factory_runtime.services.memory_turn import take_turn
from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import MEMORY_FORGET

_PAGE = 500
_PATTERNS = (Kind.FAILURE, Kind.SUCCESS)


class Refold(Protocol):
    """Works patterns out anew from what is still to be seen of their subjects."""

    def __call__(self, tx: RunTransaction, subjects: Collection[str], now: datetime) -> object: ...


def forget(
    store: RunStore,
    clock: Clock,
    refold: Refold,
    tenant_id: str,
    scope: ForgetScope,
    key: str,
    by: str,
) -> Erased:
    """Delete it from the record; the index follows by the outbox. Once more, it is a no-op.

    What is still on its way to the memory is not learned any more; a run that ends after this is.
    The run itself stays, with its artifacts and its audit.

    Args:
        store: the record.
        clock: the time.
        refold: for patterns that were seen in other runs too.
        tenant_id: whose.
        scope: of what.
        key: the run or the project; empty for the tenant.
        by: who asks.

    Raises:
        InputError: a run or a project is not named, or a tenant is named twice.
        NotFoundError: there is no such run or project, and nothing was ever learned of it.
    """
    if bool(key) is (scope is ForgetScope.TENANT):
        raise InputError(f"say which {scope.value} is to be forgotten")
    now = clock.now()
    with store.begin(tenant_id) as tx:
        take_turn(tx, now)
        tx.overwrite_deleted()
        before = tx.find_forgotten(scope, key)
        erased = _erase(tx, refold, scope, key, now)
        if before is None and not erased.memories:
            _require(tx, scope, key)
        tx.add_forgotten(Forgotten(tenant_id, scope, key, now))
        detail = {"scope": scope.value, "memories": erased.memories, "changed": erased.changed}
        leave_audit(tx, by, "memory.forget", key or tenant_id, detail, now)
    return erased


def _require(tx: RunTransaction, scope: ForgetScope, key: str) -> None:
    """There is such a thing: a misspelt name would be forgotten with success."""
    match scope:
        case ForgetScope.RUN:
            tx.get_run(key)
        case ForgetScope.PROJECT:
            if not tx.list_runs(RunFilter(project_id=key), limit=1).items:
                raise NotFoundError(f"no project {key} has run anything")
        case ForgetScope.TENANT:
            pass


def _erase(
    tx: RunTransaction, refold: Refold, scope: ForgetScope, key: str, now: datetime
) -> Erased:
    run_id = key if scope is ForgetScope.RUN else None
    project_id = key if scope is ForgetScope.PROJECT else None
    subjects = set(tx.delete_observations(run_id=run_id, project_id=project_id))
    tx.delete_uses(run_id=run_id, project_id=project_id)
    told = {one.id: one for one in _memories(tx, run_id, project_id)}
    if scope is ForgetScope.TENANT:
        return _erase_all(tx, list(told.values()), now)
    seen = tx.find_memories(subjects)
    # What a project has it does not share: its code is nowhere else.
    shared = _move(tx, told.values(), now) if scope is ForgetScope.RUN else []
    patterns = [one for one in seen if one.kind in _PATTERNS]
    kept = {one.id for one in (*shared, *patterns)}
    gone = [one for one in told.values() if one.id not in kept]
    drop_memories(tx, gone, now)
    # Of a large repository thousands of pieces are seen: they are no patterns.
    refold(tx, subjects.difference(one.id for one in seen if one.kind is Kind.CODE), now)
    # Texts that told of it are in the index until what is there is taken out as well.
    leave_forget(tx, [*shared, *patterns], now)
    left = tx.find_memories(kept)
    return Erased(scope, key, len(gone) + len(kept) - len(left), len(left))


def _erase_all(tx: RunTransaction, memories: Sequence[Memory], now: datetime) -> Erased:
    tx.delete_memories([memory.id for memory in memories])
    for model in tx.list_models():
        tx.drop_vectors(model.model)
    leave(tx, MEMORY_FORGET, new_id("forget"), {"all": True}, now)
    return Erased(ForgetScope.TENANT, "", len(memories), 0)


def _memories(tx: RunTransaction, run_id: str | None, project_id: str | None) -> Iterator[Memory]:
    after: str | None = None
    while page := tx.list_memories(
        run_id=run_id, project_id=project_id, limit=_PAGE, after_id=after
    ):
        yield from page
        after = page[-1].id


def _move(tx: RunTransaction, memories: Iterable[Memory], now: datetime) -> list[Memory]:
    """The pieces of code that other runs have too: they are told of there from now on."""
    shared: list[Memory] = []
    moved: list[Memory] = []
    for memory in (one for one in memories if one.kind is Kind.CODE):
        found = ObservationKind.FOUND
        for elsewhere in tx.list_observations(subject=memory.id, kind=found, limit=1):
            shared.append(memory)
            moved.append(replace(found_elsewhere(memory, elsewhere), changed_at=now))
    tx.save_memories(moved)
    return shared


class Forgetter:
    """Handles what was forgotten: takes it out of every index of the tenant."""

    def __init__(self, store: RunStore, clock: Clock, models: Models, worker: str) -> None:
        self._store = store
        self._clock = clock
        self._models = models
        self._worker = worker

    @property
    def handlers(self) -> Mapping[str, Callable[[OutboxMessage], None]]:
        return {MEMORY_FORGET: self.forget}

    def forget(self, message: OutboxMessage) -> None:
        """Take it out, also of what the index keeps of earlier versions.

        Raises:
            MemoryUnavailableError: the index cannot be written, or another process is at it.
        """
        tenant_id, told = message.tenant_id, message.payload
        with hold_memory(self._store, self._clock, tenant_id, self._worker) as held:
            if told.get("all"):
                self._drop_all(held)
            else:
                self._forget(held, list(told["ids"]), list(told["digests"]))

    def _forget(self, held: Held, ids: Sequence[str], digests: Sequence[str]) -> None:
        with self._store.begin(held.tenant_id) as tx:
            tx.overwrite_deleted()
            # An indexer that was at them may have kept one since.
            tx.drop_unused_vectors(digests)
            indexed = [one for one in tx.find_memories(ids) if one.indexed_at is not None]
        models = self._models.list(held.tenant_id)
        for index in self._indexes(models):
            held.renew()
            index.forget(held.tenant_id, ids)
        # After all of them: an index may take rows out of those of other models too.
        for model in models if indexed else ():
            held.renew()
            vectors = kept_vectors(self._store, held.tenant_id, model.model, indexed)
            there = [one for one in indexed if one.text_digest in vectors]
            self._models.index_of(model).upsert(held.tenant_id, embedded(there, vectors))

    def _indexes(self, models: Sequence[MemoryModel]) -> list[MemoryIndex]:
        """Of a tenant without models as well: an earlier release may have left it one."""
        indexes = [self._models.index_of(model) for model in models]
        return indexes or [self._models.index_of_default()]

    def _drop_all(self, held: Held) -> None:
        models = self._models.list(held.tenant_id)
        with self._store.begin(held.tenant_id) as tx:
            tx.overwrite_deleted()
            tx.mark_unindexed()  # what was learned since
            for model in models:
                tx.drop_vectors(model.model)
        for index in self._indexes(models):
            held.renew()
            index.drop(held.tenant_id)
