"""Forget what was learned of a run, of a project, or of a tenant: everywhere, and for good."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol, TypedDict

from factory_runtime.domain.errors import InputError, NotFoundError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.memory import (
    UNDER_WAY,
    Erased,
    ForgetScope,
    Forgotten,
    Kind,
    Memory,
    ObservationKind,
)
from factory_runtime.ports import Clock, RunFilter, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.drop_memories import drop_memories, leave_forget
from factory_runtime.services.learn_code import found_elsewhere
from factory_runtime.services.memory_turn import take_turn
from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import MEMORY_FORGET

_PAGE = 200
"""Of what one transaction erases at most: nobody else can write to SQLite meanwhile."""

_PAUSE_SECONDS = 0.02
"""Between two of them: who waits for SQLite only looks now and then whether it is free."""

_ALONE = timedelta(minutes=1)
"""How long nobody else takes a share of what somebody erases: they are told how much that was."""

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

    It is marked first, and from then on nothing of it is learned; then it is erased page by page.
    Killed on the way, the outbox goes on with it after a minute, and whoever asks again at once.

    What is still on its way to the memory, or ends meanwhile, is not learned any more; a run that
    ends after this is. The run itself stays, with its artifacts and its audit.

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
        if tx.find_forgotten(scope, key) is None and not _is_known(tx, scope, key):
            _require(tx, scope, key)
        tx.add_forgotten(Forgotten(tenant_id, scope, key, UNDER_WAY))
        leave_audit(tx, by, "memory.forget", key or tenant_id, {"scope": scope.value}, now)
        payload = {"scope": scope.value, "key": key, "by": by}
        left = leave(tx, MEMORY_FORGET, new_id("forget"), payload, now, after=_ALONE)
    erased = erase(store, clock, refold, tenant_id, scope, key, by)
    with store.begin(tenant_id) as tx:
        tx.save_message(replace(left, payload={}, done_at=clock.now()))
    return erased


def _is_known(tx: RunTransaction, scope: ForgetScope, key: str) -> bool:
    of = _of(scope, key)
    return bool(tx.list_memories(**of, limit=1) or tx.list_observations(**of, limit=1))


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


class _Of(TypedDict):
    run_id: str | None
    project_id: str | None


def _of(scope: ForgetScope, key: str) -> _Of:
    return {
        "run_id": key if scope is ForgetScope.RUN else None,
        "project_id": key if scope is ForgetScope.PROJECT else None,
    }


def erase(
    store: RunStore,
    clock: Clock,
    refold: Refold,
    tenant_id: str,
    scope: ForgetScope,
    key: str,
    by: str,
) -> Erased:
    """Erase what is marked until nothing is left of it, or another process has found so."""
    erased = Erased(scope, key, 0, 0)
    while True:
        with store.begin(tenant_id) as tx:
            now = clock.now()
            take_turn(tx, now)
            marked = tx.find_forgotten(scope, key)
            if marked is None or marked.is_done:
                return erased
            tx.overwrite_deleted()
            page = _erase_page(tx, refold, scope, key, now)
            if page is None:
                _close(tx, erased, by, now)
                return erased
        erased = Erased(scope, key, erased.memories + page.memories, erased.changed + page.changed)
        time.sleep(_PAUSE_SECONDS)


def _erase_page(
    tx: RunTransaction, refold: Refold, scope: ForgetScope, key: str, now: datetime
) -> Erased | None:
    """What was erased; None where nothing was left."""
    of = _of(scope, key)
    subjects = tx.delete_observations(**of, limit=_PAGE)
    if subjects:
        if scope is ForgetScope.TENANT:
            return Erased(scope, key, 0, 0)
        unfolded, changed = _erase_from_patterns(tx, refold, of, set(subjects), now)
        return Erased(scope, key, unfolded, changed)
    if tx.delete_uses(**of, limit=_PAGE):
        return Erased(scope, key, 0, 0)
    memories = tx.list_memories(**of, limit=_PAGE)
    if not memories:
        return None
    if scope is ForgetScope.TENANT:
        tx.delete_memories([memory.id for memory in memories])  # the whole index is dropped
        return Erased(scope, key, len(memories), 0)
    # What a project has it does not share: its code is nowhere else.
    shared = _move(tx, memories, now) if scope is ForgetScope.RUN else []
    kept = {memory.id for memory in shared}
    gone = [memory for memory in memories if memory.id not in kept]
    drop_memories(tx, gone, now)
    tx.unname_uses([memory.id for memory in gone])
    # Texts that told of it are in the index until what is there is taken out as well.
    leave_forget(tx, shared, now)
    return Erased(scope, key, len(gone), len(shared))


def _erase_from_patterns(
    tx: RunTransaction, refold: Refold, of: _Of, subjects: set[str], now: datetime
) -> tuple[int, int]:
    """Fold those again of which all that is to be forgotten is gone: how many are gone, and left.

    Lines of a project stand before all else, and are gone when the first pattern is folded: none of
    them shows again what is forgotten.
    """
    last = max(subjects)
    if tx.list_observations(subject=last, **of, limit=1):
        subjects.remove(last)  # the next page goes on with it
    seen = tx.find_memories(subjects)
    patterns = [one for one in seen if one.kind in _PATTERNS]
    # Of a large repository thousands of pieces are seen: they are no patterns.
    refold(tx, subjects.difference(one.id for one in seen if one.kind is Kind.CODE), now)
    leave_forget(tx, patterns, now)
    left = {one.id for one in tx.find_memories([one.id for one in patterns])}
    tx.unname_uses([one.id for one in patterns if one.id not in left])
    return len(patterns) - len(left), len(left)


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


def _close(tx: RunTransaction, erased: Erased, by: str, now: datetime) -> None:
    """Nothing is left: from now on it may be learned of again."""
    scope, key = erased.scope, erased.key
    if scope is ForgetScope.TENANT:
        for model in tx.list_models():
            tx.drop_vectors(model.model)
        leave(tx, MEMORY_FORGET, new_id("forget"), {"all": True}, now)
    tx.add_forgotten(Forgotten(tx.tenant_id, scope, key, now))
    detail = {"scope": scope.value, "memories": erased.memories, "changed": erased.changed}
    leave_audit(tx, by, "memory.forgotten", key or tx.tenant_id, detail, now)
