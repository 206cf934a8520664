"""Have a run hear that something has become of one of its jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunTransaction


def wake_run(tx: RunTransaction, run: Run, at: datetime, now: datetime, **changes: Any) -> Run:
    """A living walk hears of it by the run's version; one that waits wants a slot at ``at``.

    Call it with the run's row locked. ``changes`` are what else becomes of the run.
    """
    if run.ended:
        return run
    if run.status is RunStatus.WAITING and (run.wake_at is None or run.wake_at > at):
        changes["wake_at"] = at
    woken = run.changed(now, **changes)
    tx.save_run(run, woken)
    return woken
