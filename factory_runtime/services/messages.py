"""What transactions leave in the outbox, to be done after they are committed."""

from __future__ import annotations

from datetime import datetime, timedelta

from factory_runtime.domain.notice import Notice, NoticeKind, Severity, notice_to_payload
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunTransaction
from factory_runtime.services.leave_callbacks import leave_callbacks
from factory_runtime.services.outbox import leave
from factory_runtime.services.signals import signal_at_rest
from factory_runtime.services.topics import (
    MEMORY_OF_CODE,
    MEMORY_OF_RUN,
    NOTICE,
    PREFECT_EVENT,
    SETTLE_EFFECTS,
    SHOW_RUN,
    SHOW_STATUS,
    STOP_OUTSIDE,
    TAKE_INVENTORY,
    UNDO_RUN,
)

_SEVERITIES = {RunStatus.SUCCEEDED: Severity.SUCCESS, RunStatus.FAILED: Severity.FAILURE}

GIVEN_UP = "notice-given-up"
"""The kind of event that says that a target was not told of a run."""

_LATE = timedelta(seconds=30)
"""How long a job that was cut off may still be within its call to a host: longer than its grace."""


def leave_endings(tx: RunTransaction, run: Run, now: datetime) -> None:
    """After the end of a run: remember it, show it, tell it, settle what was only intended.

    One that undoes another is no example of its template: the other's ledger is settled instead.
    """
    tx.drop_topic_waits(run.id)
    tx.drop_set_aside(run.id)
    cycle, this = f"{run.id}:{run.cycle}", {"run_id": run.id}
    leave(tx, SHOW_RUN, cycle, this, now)
    leave_notice(tx, _notice_of_end(run, now))
    leave_callbacks(tx, run, now)
    known_in = undo_in(tx, run, now)
    if known_in:
        leave(tx, SETTLE_EFFECTS, cycle, this, now, after=known_in)
    if run.status is RunStatus.CANCELLED and tx.list_effects(run_id=run.id, limit=1):
        leave(tx, STOP_OUTSIDE, cycle, this, now, after=known_in)
    if run.undoes is None:
        leave(tx, MEMORY_OF_RUN, cycle, this, now)
        if run.status is RunStatus.SUCCEEDED:
            leave(tx, MEMORY_OF_CODE, cycle, this, now)
    else:
        leave(tx, TAKE_INVENTORY, cycle, {**this, "cycle": run.cycle}, now, after=known_in)
    if run.undo_requested_by is not None and run.status is not RunStatus.SUCCEEDED:
        leave_undo(tx, run, run.undo_requested_by, now)


def _notice_of_end(run: Run, now: datetime) -> Notice:
    """Its words are found when it is told: what was done instead may still be under way."""
    return Notice(
        tenant_id=run.tenant_id,
        kind=NoticeKind.RUN_COMPLETE,
        key=f"run-complete:{run.id}:{run.cycle}",
        title="",
        body="",
        at=now,
        severity=_SEVERITIES.get(run.status, Severity.WARNING),
        run_id=run.id,
        facts={"status": run.status.value, "cycle": run.cycle, "undoes": run.undoes},
    )


def leave_undo(tx: RunTransaction, run: Run, by: str, now: datetime) -> None:
    """Have an ended run undone, as soon as no job of it can still be within a call to a host."""
    payload = {"run_id": run.id, "cycle": run.cycle, "by": by}
    leave(tx, UNDO_RUN, f"{run.id}:{run.cycle}", payload, now, after=undo_in(tx, run, now))


def undo_in(tx: RunTransaction, run: Run, now: datetime) -> timedelta:
    """How long until what an ended run did outside is known, and its undo may begin."""
    if not tx.list_effects(run_id=run.id, status=EffectStatus.INTENDED, limit=1):
        return timedelta(0)
    return max(timedelta(0), (run.completed_at or now) + _LATE - now)


def leave_status(tx: RunTransaction, run: Run, now: datetime) -> None:
    """After a move that its flow run could not tell Prefect of itself."""
    leave(tx, SHOW_STATUS, f"{run.id}:{run.version}", {"run_id": run.id}, now)
    signal_at_rest(tx, run, now)


def leave_notice(tx: RunTransaction, notice: Notice) -> None:
    """Tell people of it, by the tenant's policy, and Prefect as an event."""
    for topic in (NOTICE, PREFECT_EVENT):
        leave(tx, topic, notice.key, notice_to_payload(notice), notice.at)
