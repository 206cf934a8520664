"""What a run would do, without doing any of it: for `factory run --dry-run`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from factory_runtime.compiler.expressions import evaluate
from factory_runtime.compiler.gates import APPROVAL
from factory_runtime.domain.approval import why_too_few
from factory_runtime.domain.errors import ExpressionError
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.result import RenderOrder
from factory_runtime.domain.run import RunRequest
from factory_runtime.domain.tree import pack_folder
from factory_runtime.jobs.approval import ApprovalGate, question_of
from factory_runtime.jobs.registry import check_with
from factory_runtime.jobs.render.box import render_key
from factory_runtime.ports import JobType
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.plan_request import preview_plan
from factory_runtime.services.policy import PolicyBook
from factory_runtime.services.policy_check import Ruling
from factory_runtime.services.request_desk import source_folders


class RenderForecast(StrEnum):
    """What would become of a job's render."""

    CACHED = "cached"
    NEW = "new"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan, and per job what is known before it runs.

    Attributes:
        renders: by job name.
        with_: by job name: the values of ``with`` that need no earlier job.
        ruling: what the tenant's policies ask of it.
        capped: whether its template gives it longer than they do.
        warnings: of approvals that those who are asked could not give.
    """

    plan: Plan
    renders: Mapping[str, RenderForecast]
    with_: Mapping[str, Mapping[str, Any]]
    ruling: Ruling
    capped: bool
    warnings: tuple[str, ...] = ()


def preview_run(
    catalog: TemplateCatalog,
    job_types: Mapping[str, JobType],
    request: RunRequest,
    has_render: Callable[[str], bool],
    policies: PolicyBook | None = None,
) -> Preview:
    """Compile the plan and look up its renders; nothing is recorded.

    Args:
        catalog: where templates are found.
        job_types: by name.
        request: as for ``request_run``.
        has_render: whether the cache holds a render of this key whose tree is still there.
        policies: None allows everything.

    Raises:
        InputError, PolicyUnavailableError: as ``request_run``.
    """
    template, plan, ruling = preview_plan(catalog, request, policies)
    capped = template.deadline is not None and plan.deadline != template.deadline
    digests = {
        name: pack_folder(folder, _Nowhere()).digest
        for name, folder in source_folders(catalog, template).items()
    }
    plan = replace(plan, sources=digests)
    known = {job.name: _known_with(plan, job) for job in plan.jobs}
    renders: dict[str, RenderForecast] = {}
    for job in plan.jobs:
        try:
            order = _order(job_types[job.type], job, known[job.name])
        except Exception:  # whatever a job type raises when it is shown a stand-in
            renders[job.name] = RenderForecast.UNKNOWN  # it needs what is not known yet
            continue
        if order is None or job.skip:
            renders[job.name] = RenderForecast.NONE
            continue
        key = render_key(request.tenant_id, job.type, job.type_version, order, plan.sources)
        cached = job.cache.enabled and has_render(key)
        renders[job.name] = RenderForecast.CACHED if cached else RenderForecast.NEW
    warnings = tuple(_warnings(plan, known, request.requested_by))
    return Preview(plan, renders, known, ruling, capped, warnings)


def _known_with(plan: Plan, job: PlannedJob) -> dict[str, Any]:
    scope: dict[str, Any] = {"inputs": plan.inputs, "steps": {}}
    if job.item_key is not None:
        scope["item"] = job.item
    known: dict[str, Any] = {}
    for key, value in job.with_.items():
        try:
            known[key] = evaluate(value, scope)
        except ExpressionError:
            continue
    return known


def _warnings(
    plan: Plan, known: Mapping[str, Mapping[str, Any]], requested_by: str
) -> Iterator[str]:
    """Of approvals that too few may give, as far as it is known by now who may."""
    for job in plan.jobs:
        with_ = {"message": job.name, **known[job.name]}
        if job.type != APPROVAL or job.skip or with_.keys() < job.with_.keys():
            continue
        if check_with(ApprovalGate.facts, with_):
            continue  # of what it is told, compiling and the job itself have more to say
        question = question_of(with_)
        by, later = question.by, (*question.by, *question.escalate_to)
        if (why := why_too_few(later, question.count, requested_by)) is not None:
            yield f"{job.name} would fail: {why}"
        elif (why := why_too_few(by, question.count, requested_by)) is not None:
            yield f"{job.name} would escalate at once: {why}"


def _order(job_type: JobType, job: PlannedJob, known: Mapping[str, Any]) -> RenderOrder | None:
    """The job's order, if it is the same whatever the unknown values turn out to be."""
    first, second = (
        job_type.render({**dict.fromkeys(job.with_, stand_in), **known}) for stand_in in ("a", "b")
    )
    if first != second:
        raise ValueError(job.name)
    return first


class _Nowhere(io.BytesIO):
    """Takes bytes and keeps none: only their digest is wanted."""

    def write(self, data: Any, /) -> int:
        return len(data)
