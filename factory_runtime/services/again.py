"""Which jobs of a failed run go round again, and how they begin then."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from factory_runtime.domain.errors import ConflictError, IllegalTransitionError
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.progress import Ending, carried
from factory_runtime.domain.run import Run

if TYPE_CHECKING:
    from factory_runtime.services.request_desk import RequestDesk


def all_to_do(run: Run, jobs: Sequence[Job], desk: RequestDesk | None) -> tuple[Job, ...]:
    """What failed and what that kept from running, but for failures that the run went on without.

    Those are known from the plan, which a desk reads; without one all that failed is given.
    """
    without = _carried(run, jobs, desk) if desk is not None else frozenset[str]()
    return tuple(job for job in jobs if _is_to_do(job) and job.step not in without)


def _carried(run: Run, jobs: Sequence[Job], desk: RequestDesk) -> frozenset[str]:
    """Jobs that failed and that the run went on without."""
    from factory_runtime.services.plans import read_plan  # it needs the compiler

    plan = read_plan(desk.storage, run)
    endings = {
        job.step: Ending(job.status, job.skip_reason) for job in jobs if job.step in plan.by_name
    }
    return carried(plan, endings)


def job_and_behind(job: Job, jobs: Sequence[Job], beside: Collection[str] = ()) -> tuple[Job, ...]:
    """The job, what failed ``beside`` it, and all behind them that did not succeed.

    Raises:
        IllegalTransitionError: it neither failed nor was kept from running by one that did.
        ConflictError: what kept it from running has to go again first.
    """
    if not _is_to_do(job):
        raise IllegalTransitionError(
            f"job {job.step} of {job.run_id}", job.status, JobStatus.PENDING
        )
    _refuse_out_of_reach(job, jobs)
    behind = _behind(job.step, jobs)
    for other in jobs:
        if other.step in beside and other.status is JobStatus.FAILED:
            behind |= _behind(other.step, jobs)
    return tuple(job for job in jobs if job.step in behind and _is_to_do(job))


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


def fresh(job: Job, now: datetime, **changes: Any) -> Job:
    """The job, Pending again with its whole budget."""
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
        **changes,
    )
