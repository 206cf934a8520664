"""Send a failed run round again: all that failed in it, or one job and what is behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from factory_runtime.domain.errors import ConflictError, IllegalTransitionError, InputError
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.messages import leave_status


def retry_run(store: RunStore, clock: Clock, tenant_id: str, run_id: str, by: str) -> Run:
    """Queue a Failed run again, a cycle further: what failed in it, and what that kept from running.

    Jobs that succeeded stay as they are. The others get their whole budget of attempts; numbers of
    attempts, fencing tokens, checkpoints and effect keys go on. The deadline is as far away as it
    was when the run was requested.

    Raises:
        RunNotFoundError: no such run.
        IllegalTransitionError: it is not Failed; of two retries at once, one gets this.
        InputError: it was refused when it was requested, so there is nothing to do again.
    """
    with store.begin(tenant_id) as tx:
        run = _get_failed(tx, run_id)
        again = [job for job in tx.list_jobs(run_id) if _is_to_do(job)]
        return _send_round(tx, run, again, clock.now(), {"by": by})


def retry_job(
    store: RunStore, clock: Clock, tenant_id: str, run_id: str, step: str, by: str
) -> Run:
    """As ``retry_run``, for one job and those behind it, directly or not, that did not succeed.

    What failed elsewhere in the run stays so, and decides with it how the run ends.

    Raises:
        RunNotFoundError: no such run.
        JobNotFoundError: no such job in it.
        IllegalTransitionError: the run is not Failed, or the job neither failed nor was kept from
            running by one that did.
        ConflictError: what kept the job from running has to be retried first.
        InputError: as ``retry_run``.
    """
    with store.begin(tenant_id) as tx:
        run = _get_failed(tx, run_id)
        job, jobs = tx.get_job(run_id, step), tx.list_jobs(run_id)
        if not _is_to_do(job):
            raise IllegalTransitionError(f"job {step} of {run_id}", job.status, JobStatus.PENDING)
        _refuse_out_of_reach(job, jobs)
        behind = _behind(step, jobs)
        again = [job for job in jobs if job.step in behind and _is_to_do(job)]
        return _send_round(tx, run, again, clock.now(), {"by": by, "step": step})


def _get_failed(tx: RunTransaction, run_id: str) -> Run:
    run = tx.lock_run(run_id)
    if run.status is not RunStatus.FAILED:
        raise IllegalTransitionError(f"run {run_id}", run.status, RunStatus.QUEUED)
    if run.plan is None:
        raise InputError(
            f"run {run_id} was refused and has nothing to retry",
            hint="mend what its error names and request it anew",
        )
    return run


def _is_to_do(job: Job) -> bool:
    return job.status is JobStatus.FAILED or job.skip_reason is SkipReason.NEED_FAILED


def _refuse_out_of_reach(job: Job, jobs: Iterable[Job]) -> None:
    if job.status is JobStatus.FAILED:
        return  # it ran: its needs let it, and have not changed since
    missing = [other.step for other in jobs if other.step in job.needs and _is_to_do(other)]
    if missing:
        raise ConflictError(
            f"job {job.step} of {job.run_id} needs {', '.join(missing)}, which did not succeed",
            hint=f"retry {missing[0]} first: {job.step} comes along",
        )


def _behind(step: str, jobs: Iterable[Job]) -> set[str]:
    """The job itself, and all that wait for it, directly or not."""
    behind = {step}
    for job in jobs:  # each follows its needs
        if not behind.isdisjoint(job.needs):
            behind.add(job.step)
    return behind


def _send_round(
    tx: RunTransaction, run: Run, again: Iterable[Job], now: datetime, asked: Mapping[str, Any]
) -> Run:
    detail = {**asked, "cycle": run.cycle + 1}
    for job in again:
        tx.save_job(job, _fresh(job, now), detail=detail)
    queued = run.move_to(
        RunStatus.QUEUED,
        now,
        cycle=run.cycle + 1,
        deadline_at=_deadline(tx, run, now),
        admitted_at=None,
        wake_at=None,
        completed_at=None,
        cancel_requested_at=None,
        pause_requested_at=None,
        outputs=None,
        error=None,
    )
    tx.save_run(run, queued, detail=detail)
    leave_status(tx, queued, now)
    return queued


def _fresh(job: Job, now: datetime) -> Job:
    return job.move_to(
        JobStatus.PENDING,
        now,
        failures=0,
        losses=0,
        not_before=None,
        completed_at=None,
        progress=None,
        phrase=None,
        skip_reason=None,
        outputs=None,
        error=None,
    )


def _deadline(tx: RunTransaction, run: Run, now: datetime) -> datetime | None:
    if run.deadline_at is None:
        return None
    try:
        return now + (run.deadline_at - _cycle_began(tx, run))
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
