"""Jobs that ask people before others may begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from factory_runtime.compiler.expressions import scope_name
from factory_runtime.domain.approval import Question
from factory_runtime.domain.durations import spell_duration
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.template import JobTypeFacts, OnFailure, Step

APPROVAL = "approval"
"""Name of the job type that asks."""


def gate_name(name: str) -> str:
    """What the job is called that asks for a step, or for a job of it: ``approve-deploy[eu]``."""
    return f"approve-{name}"


def gate_of(job: PlannedJob, step: Step, facts: JobTypeFacts) -> PlannedJob:
    """The job that asks for a step's ``approval``, once all that the job needs has ended.

    Where the job itself would be skipped, nobody is asked. Whatever the step says of its failures,
    what was denied does not run.
    """
    compensates = step.on_failure.action == "compensate"
    return replace(
        job,
        name=gate_name(job.name),
        step=gate_name(job.step),
        type=APPROVAL,
        type_version=facts.version,
        with_={"message": f"May {job.name} begin?", **(step.approval or {})},
        retry=facts.retry,
        timeout=facts.timeout,
        on_failure=step.on_failure if compensates else OnFailure(),
        undo=None,
        fallback_for=(),
    )


def gate_all(plan: Plan, name: str, question: Question, facts: JobTypeFacts) -> Plan:
    """The plan with one approval before everything that it does.

    Approvals that stand at its beginning already are asked for at the same time.

    Args:
        plan: as it was compiled, or with other gates.
        name: of the job that asks; none of the plan's is called that.
        question: what is asked.
        facts: of the job type ``approval``.

    Raises:
        InputError: a job or a step of the plan is called that.
    """
    if any(scope_name(name) in (scope_name(job.name), scope_name(job.step)) for job in plan.jobs):
        raise InputError(
            f"{plan.template_id} has a step {name!r}, as the approval of its policy is called",
            hint="call the step or the rule of the policy something else",
        )
    gate = PlannedJob(
        name=name,
        step=name,
        type=APPROVAL,
        type_version=facts.version,
        needs=(),
        with_=with_of(question),
        retry=facts.retry,
        timeout=facts.timeout,
    )
    gates = {job.name for job in plan.jobs if job.type == APPROVAL and not job.needs}
    behind = [
        replace(job, needs=(*job.needs, name))
        if job.name not in gates and gates.issuperset(job.needs)
        else job
        for job in plan.jobs
    ]
    return replace(plan, jobs=(gate, *behind))


def with_of(question: Question) -> Mapping[str, Any]:
    """The question as the ``with`` of a job of type ``approval``.

    Its text is none of a template's: an expression in it is not one.
    """
    with_: dict[str, Any] = {
        "message": _literal(question.message),
        "count": question.count,
        "expires": spell_duration(question.expires),
    }
    if question.by:
        with_["by"] = [_literal(name) for name in question.by]
    if question.escalate_after is not None:
        with_["escalate"] = {
            "after": spell_duration(question.escalate_after),
            "to": [_literal(name) for name in question.escalate_to],
        }
    return with_


def _literal(text: str) -> str:
    return text.replace("${{", "$${{")
