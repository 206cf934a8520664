"""Take a job back from a worker that is lost, or that lets go of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunTransaction
from factory_runtime.services.letters import WORKER_LOST, Failure, bury
from factory_runtime.telemetry import worker_is_gone

LOSSES = 10
"""How often a job may lose its worker in one cycle of its run: one that kills it has to end."""

_LOST = "its worker is gone"


def take_back(tx: RunTransaction, job: Job, now: datetime) -> Job:
    """A job that another process was killed in goes back to Pending, its attempt Lost.

    A lost attempt is none of the job's budget: most who are killed did nothing wrong. That process
    may only be paused: then the version and the fencing token stop its writes. One that a worker
    of another queue is at, and lives, is left to it.
    """
    if job.status is not JobStatus.RUNNING or _is_at_work_elsewhere(job, now):
        return job
    if job.losses + 1 < LOSSES:
        return _back(tx, job, now, Outcome.LOST, _LOST, losses=job.losses + 1)
    return fail_of_losses(tx, job, now)


def fail_of_losses(tx: RunTransaction, job: Job, now: datetime) -> Job:
    """A job that has lost its worker too often ends."""
    losses = job.losses + 1
    error = f"{_LOST}, for the {losses}th time"
    run = tx.lock_run(job.run_id)
    failed = job.move_to(JobStatus.FAILED, now, error=error, losses=losses, **_RELEASED)
    tx.save_job(job, failed, detail={"reason": error, "attempt": job.attempt})
    _close_attempt(tx, job, now, Outcome.LOST)
    bury(tx, run, failed, Failure(WORKER_LOST, error), now)
    return failed


def _is_at_work_elsewhere(job: Job, now: datetime) -> bool:
    if job.routed_to is None or job.lease_owner is None or job.lease_expires_at is None:
        return False
    return job.lease_expires_at > now and not worker_is_gone(job.lease_owner)


def let_go(tx: RunTransaction, job: Job, now: datetime) -> Job:
    """A job whose worker ends in good order, or whose run is put down, goes back to Pending."""
    return _back(tx, job, now, Outcome.SUSPENDED, "its worker let go of it")


def without_slot(run: Run, now: datetime) -> Run:
    """The run when nobody executes it any more: it wants a slot again, or is Paused if asked to."""
    asked = run.pause_requested_at is not None and run.cancel_requested_at is None
    if asked and run.status is RunStatus.RUNNING:
        return run.move_to(RunStatus.PAUSED, now, pause_requested_at=None)
    return run.changed(now, admitted_at=None)


_RELEASED: dict[str, Any] = {"lease_owner": None, "lease_expires_at": None}


def _back(
    tx: RunTransaction, job: Job, now: datetime, outcome: Outcome, reason: str, **changes: Any
) -> Job:
    back = job.move_to(JobStatus.PENDING, now, **_RELEASED, **changes)
    tx.save_job(job, back, detail={"reason": reason, "attempt": job.attempt})
    _close_attempt(tx, job, now, outcome)
    return back


def _close_attempt(tx: RunTransaction, job: Job, now: datetime, outcome: Outcome) -> None:
    for attempt in tx.list_attempts(job.run_id, job.step):
        if attempt.outcome is None:
            tx.save_attempt(replace(attempt, outcome=outcome, completed_at=now))
