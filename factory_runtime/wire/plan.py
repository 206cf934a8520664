"""Plans: what a run does, before it does it; and what policies say to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from factory_runtime.domain.approval import Question
from factory_runtime.domain.durations import spell_duration
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.policy import ApprovalRule
from factory_runtime.domain.run import Priority
from factory_runtime.wire.base import Answer


class PlannedJobAnswer(Answer):
    """One job of a plan."""

    name: str
    step: str
    type: str
    needs: tuple[str, ...]
    priority: Priority
    item_key: str | None = Field(default=None, description="of the item that it is done for")
    skip: bool = Field(description="its condition is false already")
    when: str | None = Field(default=None, description="the condition, as far as it is open")
    max_attempts: int
    timeout_seconds: float
    on_failure: str = Field(examples=["continue"])
    fallback: str | None = Field(default=None, description="the step that stands in for it")
    undo: str | None = None
    undo_of: str | None = Field(default=None, description="the job whose effects it takes back")

    @classmethod
    def of(cls, job: PlannedJob) -> PlannedJobAnswer:
        """What the plan says of it."""
        return cls(
            **{name: getattr(job, name) for name in _SAME},
            max_attempts=job.retry.max_attempts,
            timeout_seconds=job.timeout.total_seconds(),
            on_failure=job.on_failure.action,
            fallback=job.on_failure.fallback,
        )


_SAME = (
    "name",
    "step",
    "type",
    "needs",
    "priority",
    "item_key",
    "skip",
    "when",
    "undo",
    "undo_of",
)


class PlanAnswer(Answer):
    """The graph of a run's jobs; each stands behind those that it needs."""

    template_id: str
    template_version: str
    template_digest: str
    inputs: Mapping[str, Any] = Field(description="with defaults filled in")
    deadline: str | None = Field(default=None, examples=["2h"])
    jobs: tuple[PlannedJobAnswer, ...]
    record: Mapping[str, Any] | None = Field(
        default=None,
        description="the whole of it, as it is kept: the SHA-256 of its canonical JSON is its name",
    )

    @classmethod
    def of(cls, plan: Plan, record: Mapping[str, Any] | None = None) -> PlanAnswer:
        """What a plan says."""
        same = ("template_id", "template_version", "template_digest", "inputs")
        return cls(
            **{name: getattr(plan, name) for name in same},
            deadline=None if plan.deadline is None else spell_duration(plan.deadline),
            jobs=tuple(map(PlannedJobAnswer.of, plan.jobs)),
            record=record,
        )


class AskedFirst(Answer):
    """An approval that a policy wants before anything is done."""

    name: str
    message: str
    by: tuple[str, ...]
    count: int
    templates: tuple[str, ...] = Field(description="whose runs it is for; `*` is all")
    when: str | None = Field(default=None, description="an expression over the run's inputs")

    @classmethod
    def of(cls, rule: ApprovalRule) -> AskedFirst:
        """What a rule asks for."""
        question: Question = rule.question
        return cls(
            name=rule.name,
            message=question.message,
            by=question.by,
            count=question.count,
            templates=rule.templates,
            when=rule.when,
        )


class PreviewAnswer(Answer):
    """What a run would do. Nothing of it was recorded."""

    plan: PlanAnswer
    renders: Mapping[str, str] = Field(
        description="by job: `cached`, `new`, `none`, or `unknown` before others have run"
    )
    approvals: tuple[AskedFirst, ...] = Field(description="that policies want of this run")
    capped: bool = Field(description="policies give it less time than its template does")
    max_deadline_seconds: float | None = Field(default=None, description="that policies give it")
    warnings: tuple[str, ...] = ()
