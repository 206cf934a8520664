"""Work out what a run becomes where its inputs, its timeouts or its template's version change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from factory_runtime.compiler.ask_again import ask_again, is_successor, without_successors
from factory_runtime.compiler.gates import APPROVAL
from factory_runtime.compiler.misfits import Misfit, Side, changed_inputs, misfits
from factory_runtime.compiler.plan import plan_to_json
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    InputError,
    InvalidInputsError,
    Problem,
    UnknownTemplateError,
)
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.policy import ApprovalRule
from factory_runtime.domain.progress import Ending, carried
from factory_runtime.domain.run import Run
from factory_runtime.domain.template import Template
from factory_runtime.services.amended import Amended
from factory_runtime.services.bodies import from_body, to_body
from factory_runtime.services.engine import run_facts
from factory_runtime.services.plan_request import plan_under_policy
from factory_runtime.services.plans import read_plan
from factory_runtime.services.policy_check import gate_lacking
from factory_runtime.services.request_desk import RequestDesk


def amend(
    desk: RequestDesk,
    run: Run,
    jobs: Sequence[Job],
    again: Sequence[Job],
    change: Change,
    left: Mapping[str, str] = MappingProxyType({}),
    approvals: Sequence[ApprovalRule] = (),
) -> Amended:
    """The plan that the run goes on with, and what follows for its jobs.

    New inputs replace the old ones and are validated with them; the template is compiled in the
    version that is asked for, else in the run's own. Jobs that succeeded stay as they are, so they
    have to fit. What was granted for the plan before is asked again.

    Reads the plan, the outputs and the template; puts the new plan and its sources into storage.

    Args:
        desk: the ports.
        run: a Failed one.
        jobs: all of its jobs.
        again: those that go round again.
        change: what is to be otherwise.
        left: what jobs have done outside that stands, whatever became of them, by their names.
        approvals: that policies want of the run as it is; where it is compiled anew, they are asked
            about what it becomes.

    Raises:
        InvalidInputsError: the inputs do not validate, with every problem; or a job that succeeded
            would not fit the plan they give, with every such job.
        UnknownTemplateError, InvalidTemplateError: there is no such version, or it is broken.
        TemplateChangedError: the version is no longer what the run began with.
        PolicyRefusedError: the tenant's policy does not allow them, or the version.
        PolicyUnavailableError: it cannot be read.
        ConflictError: a job that succeeded would not fit the template's new version.
        InputError: the timeout is none, or the run undoes another and has no inputs of its own.
    """
    before = read_plan(desk.storage, run)
    statuses = {job.step: job for job in jobs}
    names = {job.step for job in again}
    plan, template = without_successors(before), None
    if change.compiles_anew:
        template = _load(desk, run, change)
        plan = _recompile(desk, run, plan, template, change)
        names |= _decided_anew(plan, before, statuses)
        _refuse_misfits(desk, run, before, plan, template, statuses, names, change, left)
    if change.timeout_seconds is not None:
        plan = _with_timeout(plan, names | (plan.by_name.keys() - statuses.keys()), change)
    if template is None:
        plan = gate_lacking(plan, approvals, desk.catalog.job_types)
    if plan == without_successors(before):
        plan, names = before, {job.step for job in again}
    else:
        plan = _ask_again(plan, run, statuses, names)
    return Amended(
        plan=plan,
        template=template,
        run_changes=_run_changes(desk, run, plan, template),
        detail=_detail(run, before, plan, change),
        jobs=tuple(jobs),
        again=frozenset(names & plan.by_name.keys()),
        added=frozenset(plan.by_name.keys() - statuses.keys()),
    )


# --- the plan


def _load(desk: RequestDesk, run: Run, change: Change) -> Template:
    if run.undoes is not None:
        raise InputError(
            f"run {run.id} undoes {run.undoes}: it has no inputs and no version of its own",
            hint="only its timeouts can be changed",
        )
    try:
        return desk.catalog.load_of_run(run, change.template_version)
    except UnknownTemplateError as error:
        if change.template_version is None:
            error.hint = f"{error.hint}; `--template-version` goes on with another version"
        raise


def _recompile(
    desk: RequestDesk, run: Run, before: Plan, template: Template, change: Change
) -> Plan:
    merged = {**before.inputs, **(change.inputs or {})}
    taken_away = {name for name, value in (change.inputs or {}).items() if value is None}
    inputs = {name: value for name, value in merged.items() if name not in taken_away}
    plan, _ = plan_under_policy(
        desk.catalog, desk.policies, run.tenant_id, template, inputs, counts=False
    )
    if template.digest == before.template_digest:
        # Longer timeouts that an earlier retry gave stay.
        plan = replace(plan, jobs=tuple(_timed_as_before(job, before) for job in plan.jobs))
    return replace(plan, sources=desk.pack(run.tenant_id, template))


def _timed_as_before(job: PlannedJob, before: Plan) -> PlannedJob:
    known = before.by_name.get(job.name)
    return job if known is None else replace(job, timeout=known.timeout)


def _with_timeout(plan: Plan, names: Collection[str], change: Change) -> Plan:
    seconds = change.timeout_seconds or 0
    try:
        timeout = timedelta(seconds=seconds)
    except (OverflowError, ValueError) as exc:
        raise InputError(f"{seconds} seconds are no timeout", hint="give less time") from exc
    if timeout <= timedelta(0):
        raise InputError(f"{seconds} seconds are no timeout", hint="give it more time than none")
    jobs = (replace(job, timeout=timeout) if job.name in names else job for job in plan.jobs)
    return replace(plan, jobs=tuple(jobs))


def _ask_again(plan: Plan, run: Run, jobs: Mapping[str, Job], again: Collection[str]) -> Plan:
    settled = {name for name in plan.by_name if name in jobs and name not in again}
    granted = {
        name
        for name in settled
        if jobs[name].type == APPROVAL and jobs[name].status is JobStatus.SUCCEEDED
    }
    return ask_again(plan, granted, settled, run.cycle + 1)


# --- what becomes of the jobs


def _decided_anew(plan: Plan, before: Plan, jobs: Mapping[str, Job]) -> set[str]:
    """Jobs beside those that were asked for: the changed plan may think otherwise of them."""
    skipped = {
        name
        for name, job in jobs.items()
        if job.status is JobStatus.SKIPPED
        and name in plan.by_name
        and not (job.skip_reason is SkipReason.CONDITION and plan.job(name).skip)
    }
    return skipped | (_carried(before, jobs) - _carried(plan, jobs))


def _carried(plan: Plan, jobs: Mapping[str, Job]) -> frozenset[str]:
    endings = {
        name: Ending(job.status, job.skip_reason)
        for name, job in jobs.items()
        if name in plan.by_name
    }
    return carried(plan, endings)


def _refuse_misfits(
    desk: RequestDesk,
    run: Run,
    before: Plan,
    plan: Plan,
    template: Template,
    jobs: Mapping[str, Job],
    again: Collection[str],
    change: Change,
    left: Mapping[str, str],
) -> None:
    succeeded = {name for name, job in jobs.items() if job.status is JobStatus.SUCCEEDED}
    kept = {
        name
        for name in (succeeded | left.keys()) & before.by_name.keys()
        if not (is_successor(name) or _is_only_asked_again(jobs[name], plan))
    }
    outputs: dict[str, Mapping[str, Any]] = {
        name: from_body(desk.storage, run.tenant_id, jobs[name].outputs) or {} for name in succeeded
    }
    to_do = set(again) & plan.by_name.keys() | (plan.by_name.keys() - jobs.keys())
    old = Side(before, run_facts(run))
    new = Side(plan, run_facts(replace(run, template_version=template.version)))
    found = [
        one
        if one.job in succeeded
        else replace(one, why=f"{one.why}, and has left {left[one.job]}")
        for one in misfits(old, new, template, kept, outputs, to_do)
    ]
    if found:
        raise _refusal(run, found, change)


def _is_only_asked_again(job: Job, plan: Plan) -> bool:
    """Whether it is a granted approval: the plan's own question takes its place."""
    now = plan.by_name.get(job.step)
    granted = job.type == APPROVAL and job.status is JobStatus.SUCCEEDED
    return granted and (now is None or now.type == APPROVAL)


def _refusal(run: Run, found: Sequence[Misfit], change: Change) -> FactoryError:
    names = list(dict.fromkeys(misfit.job for misfit in found))
    jobs = f"{len(names)} job{'s' if len(names) > 1 else ''}"
    what = f"{jobs} of run {run.id} would not fit what was changed"
    hint = "what they made stays as it is; to have it otherwise, request a new run"
    if change.inputs is None:
        return ConflictError(f"{what}: {'; '.join(map(str, found))}", hint=hint)
    problems = [Problem("inputs", 0, 0, "does-not-fit", str(misfit)) for misfit in found]
    return InvalidInputsError(what, problems, hint=hint)


# --- what is written


def _run_changes(
    desk: RequestDesk, run: Run, plan: Plan, template: Template | None
) -> dict[str, Any]:
    stored = desk.storage.put(run.tenant_id, plan_to_json(plan).encode())
    changes: dict[str, Any] = {"plan": Body(reference=BodyReference(stored.digest, stored.size))}
    if template is None:
        return changes
    return {
        **changes,
        "inputs": to_body(desk.storage, run.tenant_id, plan.inputs),
        "inputs_digest": digest_of(plan.inputs),
        "template_version": template.version,
        "template_digest": template.digest,
    }


def _detail(run: Run, before: Plan, plan: Plan, change: Change) -> dict[str, Any]:
    reference = run.plan.reference if run.plan is not None else None
    told: dict[str, Any] = {
        **change.told(),
        "inputs": sorted(changed_inputs(before.inputs, plan.inputs)),
        "plan_before": reference.digest if reference is not None and plan != before else None,
    }
    return {name: value for name, value in told.items() if value}
