"""Runs: what one would do, was to do, did outside, and waits for; and have it undone."""

from __future__ import annotations

from fastapi import APIRouter

from api.access import Operator, Reader, Requester
from api.context import Here
from api.problems import documented
from api.routes.runs import RunId, request_of
from factory_runtime.domain.access import Right
from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import NotFoundError
from factory_runtime.services.memory_uses import refuse_unknown, told_of
from factory_runtime.services.plans import read_plan, record_of
from factory_runtime.services.preview import preview_run
from factory_runtime.services.visible import visible_projects, visible_run
from factory_runtime.wire.approval import ApprovalAnswer
from factory_runtime.wire.effect import EffectAnswer, Undoing
from factory_runtime.wire.letter import LetterAnswer
from factory_runtime.wire.memory_use import ShownMemoryAnswer
from factory_runtime.wire.page import Part
from factory_runtime.wire.plan import AskedFirst, PlanAnswer, PreviewAnswer
from factory_runtime.wire.run import NewRun

router = APIRouter(prefix="/runs", tags=["runs"])

_MANY = 10_000
"""More than a run has jobs, so more than it has letters or open questions."""


@router.post("/preview")
def preview(asked: NewRun, requester: Requester, api: Here) -> PreviewAnswer:
    """What such a run would do, and what policies say to it. Nothing is recorded."""
    runtime = api.runtime
    request = request_of(runtime, asked, requester)
    refuse_unknown(runtime.recaller.find, request)
    found = preview_run(
        runtime.catalog,
        runtime.job_types,
        request,
        lambda key: runtime.has_render(request.tenant_id, key),
        runtime.policies,
    )
    longest = found.ruling.max_deadline
    return PreviewAnswer(
        plan=PlanAnswer.of(found.plan, record_of(found.plan)),
        renders={name: forecast.value for name, forecast in found.renders.items()},
        approvals=tuple(map(AskedFirst.of, found.ruling.approvals)),
        capped=found.capped,
        max_deadline_seconds=None if longest is None else longest.total_seconds(),
        warnings=found.warnings,
    )


@router.get("/{runId}/plan", responses=documented(404))
def get_plan(run_id: RunId, reader: Reader, api: Here) -> PlanAnswer:
    """The plan that a run goes by."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        run = visible_run(tx, reader, run_id)
    if run.plan is None:
        raise NotFoundError(f"run {run_id} was refused, and has no plan")
    plan = read_plan(api.runtime.storage, run)
    return PlanAnswer.of(plan, record_of(plan))


@router.get("/{runId}/effects", responses=documented(404))
def list_effects(run_id: RunId, reader: Reader, api: Here) -> Part[EffectAnswer]:
    """What a run did outside, or was about to, the oldest first."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        visible_run(tx, reader, run_id)
        effects = tx.list_effects(run_id=run_id, limit=_MANY)
    return Part(items=tuple(map(EffectAnswer.of, effects)))


@router.get("/{runId}/approvals", responses=documented(404))
def list_approvals(run_id: RunId, reader: Reader, api: Here) -> Part[ApprovalAnswer]:
    """What people were asked for a run, the oldest first."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        visible_run(tx, reader, run_id)
        approvals = tx.list_approvals(run_id=run_id, limit=_MANY)
    return Part(items=tuple(map(ApprovalAnswer.of, approvals)))


@router.get("/{runId}/dead-letters", responses=documented(404))
def list_letters(run_id: RunId, reader: Reader, api: Here) -> Part[LetterAnswer]:
    """Jobs of a run that failed for good, whatever became of them, the newest failure first."""
    where = LetterFilter(run_id=run_id, statuses=())
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        visible_run(tx, reader, run_id)
        letters = tx.list_dead_letters(where, limit=_MANY)
    return Part(items=tuple(map(LetterAnswer.of, letters)))


@router.get("/{runId}/memories", responses=documented(404))
def list_memories(run_id: RunId, reader: Reader, api: Here) -> Part[ShownMemoryAnswer]:
    """What a run was shown of the memory, what it made use of first.

    What is confidential has its title for operators of its project alone.
    """
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        visible_run(tx, reader, run_id)
        uses = tx.list_uses(run_id=run_id)
    confidential = visible_projects(reader, Right.OPERATE)
    shown = told_of(api.runtime.recaller.find, reader.tenant_id, uses, confidential)
    return Part(items=tuple(map(ShownMemoryAnswer.of, shown)))


@router.post("/{runId}/undo", status_code=202, responses=documented(404, 409))
def undo(run_id: RunId, who: Operator, api: Here) -> Undoing:
    """Have taken back what an ended run did outside, by a run of its own. Twice is once."""
    with api.runtime.store.begin(who.tenant_id, read_only=True) as tx:
        visible_run(tx, who, run_id, Right.OPERATE)
    undoing = api.runtime.undoer.undo(who.tenant_id, run_id, who.name)
    return Undoing(run_id=run_id, undone_by=None if undoing is None else undoing.id)
