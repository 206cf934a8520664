"""Watch over a walk: keep its lock and leases, write its notes, and see when it has to end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import IllegalTransitionError, TransientError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.engine import keep_walking
from factory_runtime.services.notes import write_notes
from factory_runtime.services.send_job import hear
from tasks.execution import Execution
from tasks.threads import in_thread

POLL = 0.5
"""Seconds between two looks at what somebody asked of the run."""

WAIT_ELSEWHERE = timedelta(seconds=10)
"""A run whose jobs all wait for longer than this gives its slot and its process back."""


class Why(Enum):
    """Why a walk ends before its run does."""

    CANCEL = "asked to stop, or past its deadline"
    PAUSE = "asked to pause, and nothing is under way any more"
    WAIT = "all its open jobs wait for a while"
    LEAVE = "this process is to end, and nothing is under way any more"
    LOST = "another process has taken it over"


async def watch_run(execution: Execution) -> Why:
    """Return when the walk has to end; its heartbeat until then."""
    renew_every = execution.runtime.engine.lease.total_seconds() / 4
    renewed = time.monotonic()
    waited = False
    while True:
        try:
            if (why := await in_thread(_look, execution)) is not None:
                return why
            await _hear_who_was_woken(execution)
            if time.monotonic() - renewed > renew_every:
                if not await in_thread(keep_walking, execution.runtime.engine, execution.walk):
                    return Why.LOST
                renewed = time.monotonic()
        except TransientError:
            # A store that is busy now will answer the next time; but a lease that could not be
            # renewed for as long as it lasts may be another's.
            if time.monotonic() - renewed > 4 * renew_every:
                return Why.LOST
        if execution.walk.suspending.is_set() and not execution.at_work:
            return why_left(execution)
        # Twice in a row: a job that is about to begin is not at work yet.
        waits = _only_waits(execution)
        if waits and waited:
            return Why.WAIT
        waited = waits
        await asyncio.sleep(POLL)


def why_left(execution: Execution) -> Why:
    """Why no job of the walk is begun any more, though nobody cancelled it."""
    return Why.LEAVE if execution.leaving else Why.PAUSE


def _only_waits(execution: Execution) -> bool:
    if execution.at_work or not execution.later:
        return False
    soonest = min(later.comes_back_at for later in execution.later.values())
    return soonest - execution.runtime.clock.now() > WAIT_ELSEWHERE


async def _hear_who_was_woken(execution: Execution) -> None:
    """Have jobs go on whose wait somebody has ended: what they wait for was decided.

    Whoever does so changes the run's version. A job that has only just begun to wait may have been
    woken before it was said here that it does: so those are looked at as well. So are jobs that a
    worker of another queue is through with.
    """
    jobs = execution.walk.jobs
    elsewhere = {name for name in execution.later if jobs[name].routed_to is not None}
    waiting = {
        name: later
        for name, later in execution.later.items()
        if jobs[name].status is JobStatus.WAITING
    }
    if (execution.version, waiting) == execution.heard:
        return
    if elsewhere:
        heard = await in_thread(hear, execution.runtime.engine, execution.walk, elsewhere)
        execution.put_off(heard)
    dues = await in_thread(_dues, execution) if waiting else {}
    for name, due in dues.items():
        # One that has gone on by itself meanwhile is in nobody's way.
        if name in waiting and execution.later.get(name) is waiting[name]:
            execution.bring_forward(name, due)
    execution.heard = (execution.version, waiting)


def _dues(execution: Execution) -> dict[str, datetime]:
    """When the run's jobs that wait go on, by name, as the store has it."""
    run = execution.walk.run
    with execution.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        jobs = tx.list_jobs(run.id)
    return {
        job.step: job.not_before
        for job in jobs
        if job.status is JobStatus.WAITING and job.not_before is not None
    }


def _look(execution: Execution) -> Why | None:
    """See what is asked of the run; write down what its attempts have to say."""
    runtime, run = execution.runtime, execution.walk.run
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        current = tx.get_run(run.id)
    execution.version = current.version
    over = current.ended and execution.walk.routed is not None  # by who walks the run
    if over or _has_to_stop(runtime, current):
        return Why.CANCEL
    if current.pause_requested_at is not None or current.status is RunStatus.PAUSED:
        execution.walk.suspending.set()
    for begun in list(execution.attempts.values()):
        write_notes(runtime.engine, execution.walk, begun)
    return None


def _has_to_stop(runtime: Runtime, current: Run) -> bool:
    if current.cancel_requested_at is not None or current.status is RunStatus.CANCELLED:
        return True
    if current.ended or not current.is_late(runtime.clock.now()):
        return False
    with suppress(IllegalTransitionError):  # it ended while it was looked at
        cancel_run(runtime.store, runtime.clock, current.tenant_id, current.id, "its deadline")
        return True
    return False
