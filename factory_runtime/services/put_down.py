"""A walk that ends before its run does: paused, waiting, or left to another process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.locks import walk_lock
from factory_runtime.services.messages import leave_status
from factory_runtime.services.steadily import steadily
from factory_runtime.services.take_back import let_go, without_slot
from factory_runtime.services.topic_slots import go_away


def put_down(
    engine: Engine, walk: Walk, status: RunStatus | None = None, wake_at: datetime | None = None
) -> Run:
    """Give back the run's slot and lock, and the jobs still under way; the run as it then stands.

    Nothing of it is in this process after that. Jobs that wait stay as they are.

    Args:
        engine: the ports.
        walk: of this process.
        status: ``PAUSED``; ``WAITING``, with ``wake_at``; None leaves it Running, to be taken up by
            whoever dispatches next. A request to pause or to cancel comes before that, and one to
            pause may have been withdrawn.
        wake_at: when a Waiting run wants a slot again.

    Where another process has the run by now, nothing is changed.
    """

    def write(again: bool) -> Run:
        del again
        with engine.store.begin(walk.run.tenant_id) as tx:
            run = tx.lock_run(walk.run.id)
            now = engine.clock.now()
            if run.ended or tx.find_lock_holder(walk_lock(run.id), now) != walk.holder:
                return run
            jobs = tx.list_jobs(run.id)
            soonest = now if _is_behind(walk, jobs) else _soonest(jobs, wake_at)
            for job in jobs:
                if job.status is JobStatus.RUNNING and job.routed_to is None:
                    let_go(tx, job, now)
            down = _put_down(run, status, soonest, now)
            if down.status is RunStatus.WAITING and down.wake_at is not None:
                down = replace(down, wake_at=go_away(tx, run.id, jobs, down.wake_at, now))
            tx.save_run(run, down)
            tx.unlock(walk_lock(run.id), walk.holder)
            leave_status(tx, down, now)
            return down

    return steadily(write, engine.lease)


def _is_behind(walk: Walk, jobs: Iterable[Job]) -> bool:
    """Whether a worker elsewhere has done with a job that this walk still waits for."""
    return any(
        (job.ended or job.status is JobStatus.PENDING) and walk.jobs[job.step].routed_to is not None
        for job in jobs
        if job.step in walk.jobs
    )


def _soonest(jobs: Iterable[Job], wake_at: datetime | None) -> datetime | None:
    """When the run has to wake up: somebody may have woken one of its jobs up a moment ago."""
    dues = [job.not_before for job in jobs if job.status is JobStatus.WAITING]
    return min((due for due in (wake_at, *dues) if due is not None), default=None)


def _put_down(run: Run, status: RunStatus | None, wake_at: datetime | None, now: datetime) -> Run:
    """What is asked of the run now decides, not what was asked when its walk began to end."""
    asked = run.cancel_requested_at or run.pause_requested_at
    if status is RunStatus.WAITING and asked is None:
        return run.move_to(status, now, wake_at=wake_at)
    return without_slot(run, now)
