"""Runs: tell one what to do."""

from __future__ import annotations

from fastapi import APIRouter

from api.access import Operator, Requester
from api.context import Here
from api.problems import documented
from api.routes.runs import RunId, Step
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain import dead_letter
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.run import Run
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.repeats import or_as_before, resumed_before, retried_before
from factory_runtime.services.retry_run import retry_job, retry_run
from factory_runtime.services.visible import may_stop, visible_run
from factory_runtime.wire.bulk import (
    Cancel,
    Change,
)
from factory_runtime.wire.run import RunSummary

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post("/{runId}/cancel", responses=documented(404, 409))
def cancel(run_id: RunId, who: Requester, api: Here, asked: Cancel | None = None) -> RunSummary:
    """Stop a run for good. What executes it obeys soon; one that nobody executes ends at once."""
    _hold(api.runtime, who, run_id)
    runtime, undo = api.runtime, asked is not None and asked.undo
    run = cancel_run(runtime.store, runtime.clock, who.tenant_id, run_id, who.name, undo=undo)
    return RunSummary.of(run)


@router.post("/{runId}/pause", responses=documented(404, 409))
def pause(run_id: RunId, who: Requester, api: Here) -> RunSummary:
    """Put a run aside until somebody resumes it; jobs under way finish first."""
    _hold(api.runtime, who, run_id)
    runtime = api.runtime
    return RunSummary.of(pause_run(runtime.store, runtime.clock, who.tenant_id, run_id, who.name))


@router.post("/{runId}/resume", responses=documented(404, 409))
def resume(run_id: RunId, who: Requester, api: Here) -> RunSummary:
    """Let a paused run go on: it queues for a slot like any other."""
    _hold(api.runtime, who, run_id)
    runtime = api.runtime
    resumed = or_as_before(
        runtime.store,
        who.tenant_id,
        lambda: resume_run(runtime.store, runtime.clock, who.tenant_id, run_id, who.name),
        lambda tx: resumed_before(tx, run_id, who.name),
    )
    return RunSummary.of(resumed)


@router.post("/{runId}/retry", responses=documented(404, 409))
def retry(run_id: RunId, who: Operator, api: Here, change: Change | None = None) -> RunSummary:
    """Send a failed run round again, from what failed in it; what succeeded stays."""
    _see(api.runtime, who, run_id, Right.OPERATE)
    retried = or_as_before(
        api.runtime.store,
        who.tenant_id,
        lambda: retry_changed(api.runtime, who, run_id, change),
        lambda tx: retried_before(tx, run_id, who.name, change_of(change)),
    )
    return RunSummary.of(retried)


@router.post("/{runId}/jobs/{step}/retry", responses=documented(404, 409))
def retry_one(
    run_id: RunId, step: Step, who: Operator, api: Here, change: Change | None = None
) -> RunSummary:
    """Send one job of a failed run round again, and those behind it that did not succeed."""
    _see(api.runtime, who, run_id, Right.OPERATE)
    runtime, wanted = api.runtime, change_of(change)
    retried = or_as_before(
        runtime.store,
        who.tenant_id,
        lambda: retry_job(
            runtime.store,
            runtime.clock,
            who.tenant_id,
            run_id,
            step,
            who.name,
            change=wanted,
            desk=runtime.desk,
        ),
        lambda tx: retried_before(tx, run_id, who.name, wanted, step),
    )
    return RunSummary.of(retried)


def _hold(runtime: Runtime, who: Principal, run_id: str) -> None:
    """Refuse who may neither operate the run nor has asked for it."""
    run = _see(runtime, who, run_id, Right.READ)
    if not may_stop(who, run):
        who.require(Right.OPERATE, run.project_id)


def _see(runtime: Runtime, who: Principal, run_id: str, right: Right) -> Run:
    with runtime.store.begin(who.tenant_id, read_only=True) as tx:
        return visible_run(tx, who, run_id, right)


def change_of(asked: Change | None) -> dead_letter.Change:
    """What is to be otherwise, as the core has it."""
    if asked is None:
        return dead_letter.Change()
    return dead_letter.Change(asked.inputs, asked.timeout_seconds, asked.template_version)


def retry_changed(runtime: Runtime, who: Principal, run_id: str, change: Change | None) -> Run:
    """Send it round again, with what is to be otherwise."""
    return retry_run(
        runtime.store,
        runtime.clock,
        who.tenant_id,
        run_id,
        who.name,
        change=change_of(change),
        desk=runtime.desk,
    )
