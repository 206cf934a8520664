"""``flows.routed.job``: does one job of a run where its type was routed to."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, assert_never

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import ConflictError, TransientError
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.orchestration.routes import FLOW
from factory_runtime.services.end_run import BY_PREFECT, cancel_run
from factory_runtime.services.engine import Walk
from factory_runtime.services.routed_job import begin_routed, leave_routed
from factory_runtime.services.trace_request import about_run
from factory_runtime.telemetry.logs import dimensions
from factory_runtime.telemetry.tracing import mark_span
from flows.hooks import after_run, shared_runtime
from flows.walk import run_one, shared_limits, under_way, wind_down
from flows.watch import Why, watch_run
from tasks.execution import Execution, JobCall
from tasks.threads import in_thread


@flow(
    name=FLOW,
    persist_result=False,
    log_prints=False,
    on_completion=[after_run],
    on_failure=[after_run],
    on_cancellation=[after_run],
    on_crashed=[after_run],
)
async def job(job_id: str) -> State[Any]:
    """Do the job that our record says this flow run was made for; ``job_id`` is for people."""
    runtime, context = shared_runtime(), FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise ConflictError("a routed job runs inside Prefect only")
    flow_run_id = str(context.flow_run.id)
    walk = await in_thread(begin_routed, runtime.engine, flow_run_id)
    if walk is None:
        return Completed(name="Nothing to do", message=f"{job_id} does not wait for this flow run")
    mark_span(run_id=walk.run.id, tenant_id=walk.run.tenant_id)
    with dimensions(**about_run(walk.run)):
        return _state_of(await _do(runtime, walk, flow_run_id))


async def _do(runtime: Runtime, walk: Walk, flow_run_id: str) -> Job:
    """The job as it stands when this process has nothing more to do with it."""
    execution = Execution(runtime, walk, *shared_limits())
    under_way.add(execution)
    try:
        await _work(execution)
    except ConflictError:
        pass  # another has it, or has ended it
    except asyncio.CancelledError:
        # This process is to end, or somebody in Prefect wants this flow run to.
        if not await asyncio.shield(in_thread(_obey, runtime, walk, flow_run_id)):
            # Given back, it would not be known any more whose cancel this was: the sweep asks again
            # as long as the job has this flow run, and takes it back when its lease has run out.
            return await asyncio.shield(in_thread(_as_it_stands, runtime, walk))
    finally:
        under_way.discard(execution)
    # What failed in another way stays as it is, for the sweep: it counts as a worker that was lost.
    return await asyncio.shield(in_thread(leave_routed, *_left(execution, flow_run_id)))


async def _work(execution: Execution) -> None:
    name = str(execution.walk.routed)
    await execution.entrance.enter(execution.rank(name), execution.walk.jobs[name].position)
    execution.at_work.add(name)
    work = asyncio.create_task(run_one(JobCall(execution, name)), name=name)
    work.add_done_callback(lambda _: execution.at_work.discard(name))
    done = asyncio.gather(work, return_exceptions=True)
    watch = asyncio.create_task(watch_run(execution))
    try:
        await asyncio.wait([done, watch], return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            await wind_down(execution, [work], by_asking=watch.result() is Why.CANCEL)
            return
        for result in done.result():
            if isinstance(result, Exception):
                raise result
    finally:
        watch.cancel()
        if not done.done():
            await asyncio.shield(wind_down(execution, [work], by_asking=False))


def _left(execution: Execution, flow_run_id: str) -> tuple[Any, Walk, str, datetime | None]:
    later = execution.later.get(str(execution.walk.routed))
    due = None if later is None else later.not_before
    return execution.runtime.engine, execution.walk, flow_run_id, due


def _obey(runtime: Runtime, walk: Walk, flow_run_id: str) -> bool:
    """Where somebody cancelled this flow run, the run is to stop; else the job goes on elsewhere.

    False where that cannot be found out now.
    """
    try:
        if runtime.launcher.find_cancelled([flow_run_id]):
            run = walk.run
            cancel_run(runtime.store, runtime.clock, run.tenant_id, run.id, BY_PREFECT)
    except TransientError:
        return False
    except ConflictError:
        pass  # the run has ended
    return True


def _as_it_stands(runtime: Runtime, walk: Walk) -> Job:
    with runtime.store.begin(walk.run.tenant_id, read_only=True) as tx:
        return tx.get_job(walk.run.id, str(walk.routed))


def _state_of(job: Job) -> State[Any]:
    match job.status:
        case JobStatus.SUCCEEDED:
            return Completed(message=f"{job.id} succeeded")
        case JobStatus.FAILED:
            return Failed(message=f"{job.id} failed: see `factory runs show {job.run_id}`")
        case JobStatus.CANCELLED:
            return Cancelled(message=f"{job.id} was cancelled")
        case JobStatus.SKIPPED:
            return Completed(name="Skipped", message=f"{job.id} was not needed")
        case JobStatus.PENDING | JobStatus.WAITING | JobStatus.RUNNING:
            return Completed(name="Put off", message=f"{job.id} goes on later")
        case _:
            assert_never(job.status)
