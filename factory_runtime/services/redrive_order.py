"""What is written of a redrive order: begun, released or stopped by its canary, refused letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from factory_runtime.domain.dead_letter import (
    Change,
    DeadLetter,
    LetterStatus,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.errors import FactoryError
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit

ORDER = "dead-letter.redrive-group"
"""What the audit calls an order."""


def note_refusal(
    store: RunStore, order: RedriveOrder, letter: DeadLetter, error: FactoryError
) -> None:
    """Count a letter that cannot be sent round, and leave it open with the reason."""
    with store.begin(order.tenant_id) as tx:
        tx.lock_run(letter.run_id)
        stands = tx.get_dead_letter(letter.id)
        if stands.status is not LetterStatus.OPEN or stands.order_id == order.id:
            return  # it went along with another one, or with somebody else
        refused = replace(stands, version=stands.version + 1, order_id=order.id)
        tx.save_dead_letter(stands, replace(refused, reason=f"not sent round: {error}"))
        held = tx.lock_redrive_order(order.id)
        tx.save_redrive_order(held.changed(refused=held.refused + 1, error=error.explain()))


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


def add_order(tx: RunTransaction, order: RedriveOrder) -> None:
    """Begin an order, and write down whose it is."""
    tx.add_redrive_order(order)
    detail = {"fingerprint": order.fingerprint, "total": order.total, "canary": order.canary_id}
    detail |= {"change": dict(order.change)}
    leave_audit(tx, order.requested_by, ORDER, order.id, detail, order.requested_at)


def change_to_json(change: Change) -> Mapping[str, Any]:
    """The change as an order keeps it: ``Change(**kept)`` is the same again."""
    return {} if change.is_empty else asdict(change)
