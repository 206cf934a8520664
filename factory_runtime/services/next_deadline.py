"""How much time a run has for another round."""

from __future__ import annotations

from datetime import datetime, timedelta

from factory_runtime.domain.approval import time_asked
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunTransaction

_MANY = 1_000_000


def next_deadline(
    tx: RunTransaction, run: Run, longest: timedelta | None, now: datetime
) -> datetime | None:
    """When a run is due that begins another round now; None where it may take any time.

    It has as much time as for the round before, without what people took to answer.

    Args:
        tx: of the run's tenant.
        run: as it stood until now.
        longest: the most that its plan and its policies give; None is no limit.
        now: the time.
    """
    limits = [] if longest is None else [longest]
    if run.deadline_at is not None:
        began = _cycle_began(tx, run)
        asked = time_asked(tx.list_approvals(run_id=run.id, limit=_MANY), began)
        limits.append(run.deadline_at - began - asked)
    try:
        return now + min(limits) if limits else None
    except OverflowError:
        return run.deadline_at  # at the end of the calendar, as before


def _cycle_began(tx: RunTransaction, run: Run) -> datetime:
    """When the deadline was last set: with the request, or with the last retry."""
    began, after = run.requested_at, 0
    while run.cycle and (events := tx.list_events(run.id, after=after)):
        after = events[-1].sequence
        for event in events:
            if event.kind == "run" and event.from_status == RunStatus.FAILED:
                began = event.at
    return began
