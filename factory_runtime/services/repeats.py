"""Answer a request once more whose answer was lost: what was done stands, and is not done twice.

Whoever sends a request again after a cut connection cannot know whether it was done. The audit does:
the last that anybody told this run, letter or order is this very thing, by the same person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from factory_runtime.domain.dead_letter import (
    ORDER_ENDED,
    Change,
    DeadLetter,
    LetterFilter,
    LetterStatus,
    RedriveOrder,
)
from factory_runtime.domain.errors import ConflictError, DeadLetterNotFoundError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunStore, RunTransaction
from factory_runtime.services.audit import SYSTEM
from factory_runtime.services.dead_letters import DISCARD, count_expected
from factory_runtime.services.letters import REDRIVE
from factory_runtime.services.redrive import Redriver
from factory_runtime.services.redrive_order import ORDER, STOP

T = TypeVar("T")

_NEWEST = 20
"""How many of the newest are looked at."""


def or_as_before(
    store: RunStore,
    tenant_id: str,
    act: Callable[[], T],
    before: Callable[[RunTransaction], T | None],
) -> T:
    """Do it; where what stands is in its way, or nothing is left, what ``before`` finds was done.

    Of two at once the second finds what the first has done.

    Raises:
        FactoryError: of ``act``, where nothing of the kind was done before.
    """
    try:
        return act()
    except (ConflictError, DeadLetterNotFoundError):
        with store.begin(tenant_id, read_only=True) as tx:
            done = before(tx)
        if done is None:
            raise
        return done


def resumed_before(tx: RunTransaction, run_id: str, by: str) -> Run | None:
    """The run, where they have resumed it and nobody has told it anything since."""
    return tx.get_run(run_id) if _told_last(tx, run_id, by, "run.resume") else None


def retried_before(
    tx: RunTransaction, run_id: str, by: str, change: Change, step: str | None = None
) -> Run | None:
    """The run, where they have sent it, or this job of it, round so, and it is in that cycle."""
    run, action = tx.get_run(run_id), "run.retry" if step is None else "job.retry"
    facts = {"cycle": run.cycle, "step": step, "change": _digest(change)}
    return run if _told_last(tx, run_id, by, action, **facts) else None


def redriven_before(
    tx: RunTransaction, letter_id: str, by: str, change: Change, beside: tuple[str, ...]
) -> Run | None:
    """The letter's run, where they have sent it round so, and all that is named beside it."""
    facts = {"order": None, "change": _digest(change)}
    if not _told_last(tx, letter_id, by, REDRIVE, **facts):
        return None
    run = tx.get_run(tx.get_dead_letter(letter_id).run_id)
    stayed = {job.step for job in tx.list_jobs(run.id) if job.status is JobStatus.FAILED}
    if run.status is RunStatus.CANCELLED or not stayed.isdisjoint(beside):
        return None
    return run


def discarded_before(
    tx: RunTransaction, letter_id: str, by: str, reason: str, *, undo: bool
) -> DeadLetter | None:
    """The letter, where they have closed it for this reason."""
    letter, facts = tx.get_dead_letter(letter_id), {"reason": reason.strip(), "undo": undo}
    is_closed = letter.status is LetterStatus.DISCARDED
    return letter if is_closed and _told_last(tx, letter_id, by, DISCARD, **facts) else None


def order_once(
    redriver: Redriver,
    tenant_id: str,
    where: LetterFilter,
    by: str,
    change: Change,
    *,
    canary: bool,
    expected: int | None = None,
) -> RedriveOrder:
    """Order that letters go round again; or an order of theirs for the same ones, under way.

    A second one would do nothing more; where one letter goes ahead, it would send another one ahead.

    Args:
        redriver: carries it out.
        tenant_id: whose letters.
        where: which, of the open ones.
        by: who orders it.
        change: what is to be otherwise.
        canary: whether one goes ahead.
        expected: how many letters there have to be; None is any number.

    Raises:
        ConflictError: there are more or fewer; or as ``Redriver.order``.
        FactoryError: as ``Redriver.order``.
    """

    def stands(tx: RunTransaction) -> RedriveOrder | None:
        same = (
            order
            for order in tx.list_redrive_orders(limit=_NEWEST)
            if (order.requested_by, order.canary_id is not None) == (by, canary)
            and order.status not in ORDER_ENDED
            and expected in (None, order.total)
            and _chooses(tx, order, where)
            and _changes_so(tx, order, change)
        )
        return next(same, None)

    def act() -> RedriveOrder:
        with redriver.store.begin(tenant_id, read_only=True) as tx:
            order = stands(tx)
            if order is not None:
                return order
            count_expected(tx, where, expected)
        return redriver.order(tenant_id, where, by, change, canary=canary, stands=stands)

    return or_as_before(redriver.store, tenant_id, act, stands)


def _chooses(tx: RunTransaction, order: RedriveOrder, where: LetterFilter) -> bool:
    """Whether the letters that are open now are none but the order's."""
    if order.until is None or (where.until is not None and where.until < order.until):
        return False
    asked = replace(where, statuses=order.where.statuses, until=order.until, projects=None)
    if replace(asked, run_id=None, can_go_round=True) != order.where:
        return False
    later = replace(where, since=order.until, can_go_round=True)
    return tx.count_dead_letters(later) == 0


def _changes_so(tx: RunTransaction, order: RedriveOrder, change: Change) -> bool:
    ordered = (entry for entry in tx.list_audit(subject=order.id) if entry.action == ORDER)
    return all(entry.detail["change"] == change.told() for entry in ordered)


def stopped_before(tx: RunTransaction, order_id: str, by: str, reason: str) -> RedriveOrder | None:
    """The order, where they have stopped it for this reason."""
    if not _told_last(tx, order_id, by, STOP, reason=reason.strip()):
        return None
    return tx.find_redrive_order(order_id)


def _told_last(tx: RunTransaction, subject: str, by: str, action: str, **facts: Any) -> bool:
    told = (entry for entry in tx.list_audit(subject=subject) if entry.actor != SYSTEM)
    last = next(told, None)
    if last is None or (last.actor, last.action) != (by, action):
        return False
    return all(last.detail.get(name) == fact for name, fact in facts.items())


def _digest(change: Change) -> str | None:
    return change.told().get("change")
