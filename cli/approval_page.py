"""The page of one approval: the question, who asked and who may decide, and what it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from cli.as_json import to_json, without
from cli.door import Door
from cli.plan_view import outside_effects
from cli.text import local_time, one_line
from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote, spell_deciders
from factory_runtime.domain.job import Job
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.redaction import redact
from factory_runtime.domain.run import Run, RunRequest


@dataclass(frozen=True)
class ApprovalFacts:
    """An approval with all that a person needs to decide.

    Attributes:
        plan: the one that is approved, found by its digest.
        does: what each of its jobs will do, by name.
        behind: names of the jobs that wait for the approval.
        me: who reads this.
        why_not: why who reads this may not grant it; None where nothing is in the way.
    """

    approval: Approval
    votes: tuple[Vote, ...]
    run: Run
    jobs: tuple[Job, ...]
    plan: Plan
    does: Mapping[str, str]
    behind: frozenset[str]
    me: str
    why_not: str | None


def read_approval(door: Door, approval_id: str) -> ApprovalFacts:
    """Read an approval and the plan that it is bound to.

    Raises:
        ApprovalNotFoundError: no such approval.
        FactoryError: its plan is gone or damaged.
    """
    with door.desk.reading() as tx:
        approval = tx.get_approval(approval_id)
        votes = tx.list_votes(approval_id)
        run, jobs = tx.get_run(approval.run_id), tx.list_jobs(approval.run_id)
    plan = door.desk.approved_plan(approval)
    return ApprovalFacts(
        approval=approval,
        votes=votes,
        run=run,
        jobs=jobs,
        plan=plan,
        does=_what_jobs_do(run, plan),
        behind=_behind(plan, approval.step),
        me=door.desk.me().name,
        why_not=door.desk.why_no_grant(approval),
    )


def approval_as_json(facts: ApprovalFacts) -> dict[str, Any]:
    """The whole of it, for another program."""
    status = {job.step: job.status for job in facts.jobs}
    return {
        "approval": to_json(facts.approval),
        "votes": to_json(facts.votes),
        "may_decide": facts.why_not is None,
        "run": without(facts.run, "inputs", "outputs", "plan"),
        "inputs": to_json(facts.plan.inputs),
        "jobs": [
            {
                "name": job.name,
                "type": job.type,
                "status": status.get(job.name),
                "waits_for_approval": job.name in facts.behind,
                "does": facts.does[job.name],
            }
            for job in facts.plan.jobs
        ],
    }


def show_approval(door: Door, facts: ApprovalFacts) -> None:
    """All of it, and how to decide."""
    approval, run, now = facts.approval, facts.run, door.desk.now()
    count = f", {approval.count} of them" if approval.count > 1 else ""
    door.screen.facts(
        [
            ("approval", approval.id),
            ("status", approval.status),
            ("asks", approval.message.strip()),
            ("who may", f"{spell_deciders(approval.deciders(now))}{count}"),
            ("until", local_time(approval.expires_at)),
            ("escalates", _escalates(approval)),
            ("requested", f"{local_time(run.requested_at)} by {_requester(approval)}"),
            ("asked", local_time(approval.requested_at)),
            ("decided", local_time(approval.decided_at)),
            ("run", f"{run.id}, {run.status}"),
            ("step", approval.step),
            ("template", f"{facts.plan.template_id} {facts.plan.template_version}"),
            ("project", run.project_id),
            ("plan", f"sha256:{approval.plan_digest}"),
        ]
    )
    _show_inputs(door, facts.plan)
    _show_jobs(door, facts)
    if facts.votes:
        door.screen.heading("Votes")
        door.screen.table(
            ("person", "said", "at", "comment"), [_vote(vote) for vote in facts.votes]
        )
    if approval.status is ApprovalStatus.OPEN:
        door.screen.line()
        door.screen.line(_how_to_decide(facts))


def _requester(approval: Approval) -> str:
    if approval.requester_is_known:
        return approval.requested_by
    return f"{approval.requested_by}: nobody knows who it was, so one vote more is wanted"


def _how_to_decide(facts: ApprovalFacts) -> str:
    approval = facts.approval
    if facts.why_not is not None:
        return f"{facts.me} may not grant it: {facts.me} {facts.why_not}"
    return (
        f"`factory approvals grant {approval.id}`, or"
        f" `factory approvals deny {approval.id} --comment REASON`"
    )


def _show_inputs(door: Door, plan: Plan) -> None:
    if not plan.inputs:
        return
    door.screen.heading("Inputs")
    shown = cast("Mapping[str, Any]", redact(plan.inputs))
    door.screen.facts((name, _spelled(value)) for name, value in shown.items())


def _show_jobs(door: Door, facts: ApprovalFacts) -> None:
    status = {job.step: job.status.value for job in facts.jobs}
    door.screen.heading("What it does")
    door.screen.table(
        ("job", "type", "status", "waits for this", "does"),
        [
            (
                job.name,
                job.type,
                status.get(job.name, ""),
                "yes" if job.name in facts.behind else "",
                one_line(facts.does[job.name]),
            )
            for job in facts.plan.jobs
        ],
        flexible=("job", "does"),
    )


def _what_jobs_do(run: Run, plan: Plan) -> Mapping[str, str]:
    request = RunRequest(run.tenant_id, run.project_id, run.template_id, {}, run.requested_by)
    outside = outside_effects(request, plan)
    return {job.name: _what_one_does(run, job, str(outside.get(job.name, ""))) for job in plan.jobs}


def _what_one_does(run: Run, job: PlannedJob, outside: str) -> str:
    if job.skip:
        return "nothing: its condition is false"
    does = [outside]
    if job.undo_of is not None:
        does.append(f"undoes {job.undo_of} of {run.undoes}: {job.undo}")
    if job.when is not None:
        does.append(f"only if {job.when}")
    if job.fallback_for:
        does.append(f"only if {' or '.join(job.fallback_for)} fails")
    if job.type == "approval":
        does.append("asks people")
    return ", ".join(part for part in does if part)


def _behind(plan: Plan, step: str) -> frozenset[str]:
    behind = {step}
    for job in plan.jobs:  # each follows its needs
        if not behind.isdisjoint(job.needs):
            behind.add(job.name)
    return frozenset(behind - {step})


def _escalates(approval: Approval) -> str:
    if approval.escalate_at is None:
        return ""
    return f"{local_time(approval.escalate_at)} to {spell_deciders(approval.escalate_to)}"


def _vote(vote: Vote) -> tuple[str, ...]:
    said = "granted" if vote.granted else "denied"
    return (vote.person, said, local_time(vote.at), one_line(vote.comment))


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
