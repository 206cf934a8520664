"""A Plan: the compiled, immutable graph of jobs that a run begins with and keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Priority, Run
from factory_runtime.domain.template import CacheRule, OnFailure, RetryPolicy


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job of a plan.

    Attributes:
        name: the step's name, with the item's key where the step has an ``each``.
        needs: names of the jobs that must have ended before it starts.
        with_: as the template wrote it. Expressions are evaluated only when the job runs, so text
            that came in as an input is never read as one.
        when: likewise; None where there is no condition or compiling already answered it.
        skip: compiling found the condition false.
        fallback_for: names of jobs in whose place it runs; it is skipped unless one of them failed.
        undo: name of the undo of its type that takes back what it does; None where there is none.
        undo_of: in the plan of a run that undoes another: the job of that other run whose effects
            this one takes back, by ``undo``.
    """

    name: str
    step: str
    type: str
    type_version: str
    needs: tuple[str, ...]
    with_: Mapping[str, Any]
    retry: RetryPolicy
    timeout: timedelta
    item: Any = None
    item_key: str | None = None
    when: str | None = None
    skip: bool = False
    priority: Priority = Priority.NORMAL
    cache: CacheRule = CacheRule()
    on_failure: OnFailure = OnFailure()
    undo: str | None = None
    fallback_for: tuple[str, ...] = ()
    undo_of: str | None = None


@dataclass(frozen=True)  # no slots: it keeps what it has worked out
class Plan:
    """The compiled graph. Jobs stand in an order in which each follows its needs.

    Attributes:
        inputs: validated, defaults filled in.
        outputs: expressions of the template, evaluated when the run ends.
        each_steps: names of the steps that were fanned out; their outputs are keyed by item.
        sources: source name → digest of its tree, as packed when the run was accepted. The
            compiler leaves it empty; one that a job type brought along is ``<job type>:<name>``,
            like ``pipeline-generation:github-actions``.
    """

    template_id: str
    template_version: str
    template_digest: str
    inputs: Mapping[str, Any]
    jobs: tuple[PlannedJob, ...]
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    each_steps: tuple[str, ...] = ()
    deadline: timedelta | None = None
    sources: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def by_name(self) -> Mapping[str, PlannedJob]:
        return {job.name: job for job in self.jobs}

    @cached_property
    def by_step_key(self) -> Mapping[str, tuple[PlannedJob, ...]]:
        """The jobs of each step, under the name that expressions know it by."""
        steps: dict[str, list[PlannedJob]] = {}
        for job in self.jobs:
            steps.setdefault(job.step.replace("-", "_"), []).append(job)
        return {name: tuple(jobs) for name, jobs in steps.items()}

    @cached_property
    def fallbacks(self) -> tuple[PlannedJob, ...]:
        """The jobs that stand in for others."""
        return tuple(job for job in self.jobs if job.fallback_for)

    @cached_property
    def compensating(self) -> tuple[PlannedJob, ...]:
        """The jobs whose failure has the whole run undone."""
        return tuple(job for job in self.jobs if job.on_failure.action == "compensate")

    @cached_property
    def fallback_of(self) -> Mapping[str, PlannedJob]:
        """What stands in for a job, by the name of that job."""
        return {name: job for job in reversed(self.fallbacks) for name in job.fallback_for}

    def job(self, name: str) -> PlannedJob:
        """The job of that name.

        Raises:
            KeyError: there is none.
        """
        return self.by_name[name]


def jobs_of(run: Run, plan: Plan) -> tuple[Job, ...]:
    """The jobs of a new run of the plan, in its order."""
    return tuple(
        Job(
            id=f"{run.id}.{position}",
            tenant_id=run.tenant_id,
            run_id=run.id,
            step=planned.name,
            position=position,
            type=planned.type,
            status=JobStatus.PENDING,
            needs=planned.needs,
            max_attempts=planned.retry.max_attempts,
            priority=planned.priority,
            updated_at=run.requested_at,
        )
        for position, planned in enumerate(plan.jobs)
    )
