"""What is written of a redrive order: begun, released, stopped; letters that were refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.body import Body
from factory_runtime.domain.dead_letter import (
    ORDER_ENDED,
    Change,
    DeadLetter,
    LetterFilter,
    LetterStatus,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.errors import (
    DeadLetterNotFoundError,
    FactoryError,
    IllegalTransitionError,
    InputError,
)
from factory_runtime.ports import ArtifactStorage, Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.bodies import from_body, to_body

ORDER = "dead-letter.redrive-group"
"""What the audit calls an order."""

STOP = "dead-letter.stop-redrive"
"""What the audit calls stopping one."""


_ORDERING = "redrive-orders"

Standing = Callable[[RunTransaction], RedriveOrder | None]
"""Finds an order beside which none is to be made; None where there is none."""


class OrderStandsError(Exception):
    """Nothing was ordered: there is an order already."""

    def __init__(self, order: RedriveOrder) -> None:
        super().__init__(order.id)
        self.order = order


class OrderEndedError(Exception):
    """Somebody stopped the order, or carried it out, while this was at it."""


def stop_order(
    store: RunStore, clock: Clock, tenant_id: str, order_id: str, by: str, reason: str
) -> RedriveOrder:
    """Send no more letters of an order round; those that went stay under way.

    Args:
        store: the record.
        clock: for the times.
        tenant_id: whose order.
        order_id: which.
        by: who says so.
        reason: why.

    Raises:
        InputError: there is no reason.
        RedriveOrderNotFoundError: no such order.
        IllegalTransitionError: it has ended.
    """
    if not reason.strip():
        raise InputError("an order is stopped for a reason", hint="say why, in a few words")
    with store.begin(tenant_id) as tx:
        order = tx.lock_redrive_order(order_id)
        if order.status in ORDER_ENDED:
            raise IllegalTransitionError(
                f"redrive order {order_id}", order.status, OrderStatus.STOPPED
            )
        why = f"stopped by {by}: {reason.strip()}"
        now = clock.now()
        stopped = order.changed(status=OrderStatus.STOPPED, error=why, finished_at=now)
        tx.save_redrive_order(stopped)
        detail = {"reason": reason.strip(), "redriven": order.redriven, "of": order.total}
        leave_audit(tx, by, STOP, order_id, detail, now)
        return stopped


def count_redriven(tx: RunTransaction, order_id: str, letters: int) -> None:
    """Letters of an order go round in this transaction.

    Raises:
        OrderEndedError: it has ended: they must not.
    """
    held = _hold(tx, order_id)
    tx.save_redrive_order(held.changed(redriven=held.redriven + letters))


def note_refusal(
    store: RunStore, order: RedriveOrder, letter: DeadLetter, error: FactoryError
) -> None:
    """Count a letter that cannot be sent round, and leave it open with the reason.

    Raises:
        OrderEndedError: the order has ended.
    """
    with store.begin(order.tenant_id) as tx:
        tx.lock_run(letter.run_id)
        stands = tx.get_dead_letter(letter.id)
        if stands.status is not LetterStatus.OPEN or stands.order_id == order.id:
            return  # it went along with another one, or with somebody else
        refused = replace(stands, version=stands.version + 1, order_id=order.id)
        tx.save_dead_letter(stands, replace(refused, reason=f"not sent round: {error}"))
        held = _hold(tx, order.id)
        tx.save_redrive_order(held.changed(refused=held.refused + 1, error=error.explain()))


def _hold(tx: RunTransaction, order_id: str) -> RedriveOrder:
    held = tx.lock_redrive_order(order_id)
    if held.status is not OrderStatus.RELEASING:
        raise OrderEndedError
    return held


def released(tx: RunTransaction, order: RedriveOrder, clock: Clock) -> RedriveOrder:
    """The order, its row held, after what came of the letter that went ahead."""
    if order.status is not OrderStatus.CANARY or order.canary_id is None:
        return order
    canary = tx.get_dead_letter(order.canary_id)
    if canary.status is LetterStatus.REDRIVEN and canary.order_id == order.id:
        return order  # its job is under way
    if canary.status is LetterStatus.RESOLVED:
        after = order.changed(status=OrderStatus.RELEASING)
    else:
        failed = canary.status is LetterStatus.OPEN
        why = f"failed again: {canary.error}" if failed else f"is {canary.status}"
        after = order.changed(
            status=OrderStatus.STOPPED,
            error=f"dead letter {canary.id}, which went ahead, {why}",
            finished_at=clock.now(),
        )
    tx.save_redrive_order(after)
    return after


def add_order(
    tx: RunTransaction, order: RedriveOrder, change: Change, stands: Standing | None = None
) -> None:
    """Begin an order, and write down whose it is; of its change the names alone.

    Raises:
        OrderStandsError: ``stands`` has found one.
    """
    if stands is not None:
        at = order.requested_at
        # Its row stays locked until the end; the lock itself has run out by then, for everybody.
        while not tx.try_lock(_ORDERING, _ORDERING, at, at):
            pass  # somebody else made the row just now: the next try finds it
        if (other := stands(tx)) is not None:
            raise OrderStandsError(other)
    tx.add_redrive_order(order)
    chosen = {
        "fingerprint": order.fingerprint,
        "type": order.job_type,
        "template": order.template_id,
        "project": order.project_id,
        "since": order.since and order.since.isoformat(),
    }
    detail = {name: value for name, value in chosen.items() if value is not None}
    detail |= {"total": order.total, "canary": order.canary_id, "change": change.told()}
    leave_audit(tx, order.requested_by, ORDER, order.id, detail, order.requested_at)


def change_to_body(storage: ArtifactStorage, tenant_id: str, change: Change) -> Body | None:
    """The change as an order keeps it.

    Raises:
        StorageFullError: a large one could not be stored.
    """
    return None if change.is_empty else to_body(storage, tenant_id, asdict(change))


def change_of(storage: ArtifactStorage, order: RedriveOrder) -> Change:
    """What the order's letters go round with.

    Raises:
        ArtifactNotFoundError, CorruptArtifactError: a large one cannot be read any more.
    """
    kept: dict[str, Any] = from_body(storage, order.tenant_id, order.change) or {}
    return Change(**kept)


def open_now(store: RunStore, tenant_id: str, where: LetterFilter, now: datetime) -> LetterFilter:
    """The letters among them that are open now and can go round, and none that fails later.

    Times are those of the machines where jobs failed: the newest may be ahead of this one's.

    Raises:
        DeadLetterNotFoundError: none is open.
    """
    where = replace(where, statuses=(LetterStatus.OPEN,), run_id=None)
    with store.begin(tenant_id, read_only=True) as tx:
        newest = tx.list_dead_letters(where, limit=1)
    if not newest:
        raise DeadLetterNotFoundError(
            "no such dead letter is open",
            hint="`factory dead-letters list` shows those that are",
        )
    until = max(now, newest[0].failed_at + timedelta(microseconds=1))
    if where.until is not None:
        until = min(until, where.until)
    return replace(where, until=until, can_go_round=True)


def place_of(tx: RunTransaction, asked: Mapping[str, Any]) -> DeadLetter | None:
    """The last letter of the page before, as it was in the list then."""
    if "after" not in asked:
        return None
    letter = tx.get_dead_letter(str(asked["after"]))
    return replace(letter, failed_at=datetime.fromisoformat(asked["failed_at"]))
