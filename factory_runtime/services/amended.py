"""A changed plan, and what it makes of the rows of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.run import Run
from factory_runtime.domain.template import Template
from factory_runtime.ports import RunTransaction
from factory_runtime.services.again import fresh
from factory_runtime.services.request_run import register_template


@dataclass(frozen=True)
class Amended:
    """A run's next plan, and what it makes of the run and its jobs. Nothing of it is recorded.

    Attributes:
        plan: the next one; where nothing changed, the one before.
        template: that it was compiled from; None where only timeouts changed.
        run_changes: fields of the run.
        detail: facts for its events and the audit.
        jobs: the run's jobs as they were read.
        again: names of those that are Pending again.
        added: names of planned jobs that the run has not had so far.
    """

    plan: Plan
    template: Template | None
    run_changes: Mapping[str, Any]
    detail: Mapping[str, Any]
    jobs: tuple[Job, ...]
    again: frozenset[str]
    added: frozenset[str]

    @property
    def plan_changed(self) -> bool:
        """Whether the plan is another one than before."""
        return "plan_before" in self.detail

    def write(self, tx: RunTransaction, run: Run, now: datetime, detail: Mapping[str, Any]) -> None:
        """Write the jobs as they are from now on; with the run's row locked, before it is saved."""
        if self.template is not None:
            register_template(tx, self.template, now)
        places = {job.name: position for position, job in enumerate(self.plan.jobs)}
        end = len(places)
        for job in self.jobs:
            if job.step in places:
                facts = _facts(self.plan.job(job.step), places[job.step])
                if job.step in self.again:
                    _save_fresh(tx, job, facts, now, detail)
                elif any(getattr(job, name) != value for name, value in facts.items()):
                    tx.save_job(job, job.changed(now, **facts))
            else:
                _save_unplanned(tx, job, end, now, detail)
                end += 1
        tx.add_jobs(
            [
                _new_job(run, self.plan.job(name), places[name], now)
                for name in sorted(self.added, key=places.__getitem__)
            ]
        )


def _facts(planned: PlannedJob, position: int) -> dict[str, Any]:
    """What a job's row repeats of its plan."""
    return {
        "position": position,
        "type": planned.type,
        "needs": planned.needs,
        "max_attempts": planned.retry.max_attempts,
        "priority": planned.priority,
    }


def _save_fresh(
    tx: RunTransaction, job: Job, facts: Mapping[str, Any], now: datetime, detail: Mapping[str, Any]
) -> None:
    if job.skip_reason not in (None, SkipReason.NEED_FAILED, SkipReason.NOT_PLANNED):
        # A good reason to skip it was one of the plan before, which counts no more.
        before, job = job, job.changed(now, skip_reason=SkipReason.NOT_PLANNED)
        tx.save_job(before, job)
    tx.save_job(job, fresh(job, now, **facts), detail=detail)


def _save_unplanned(
    tx: RunTransaction, job: Job, position: int, now: datetime, detail: Mapping[str, Any]
) -> None:
    """A job that is no longer planned stands behind those that are, and counts no more."""
    pending, error = job, job.error
    if job.status is JobStatus.FAILED or job.skip_reason is SkipReason.NEED_FAILED:
        pending = fresh(job, now)
        tx.save_job(job, pending, detail=detail)
    if pending.status is JobStatus.PENDING:
        reason = SkipReason.NOT_PLANNED
        skipped = pending.move_to(
            JobStatus.SKIPPED, now, skip_reason=reason, error=error, position=position
        )
        tx.save_job(pending, skipped, detail={"reason": reason.value})
    elif job.position != position:
        tx.save_job(job, job.changed(now, position=position))


def _new_job(run: Run, planned: PlannedJob, position: int, now: datetime) -> Job:
    return Job(
        id=f"{run.id}.{run.cycle + 1}.{position}",
        tenant_id=run.tenant_id,
        run_id=run.id,
        step=planned.name,
        status=JobStatus.PENDING,
        updated_at=now,
        **_facts(planned, position),
    )
