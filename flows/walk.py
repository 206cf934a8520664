"""Walk a plan: start every job the moment its needs have ended, stop when somebody asks for it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from prefect.client.schemas.objects import State

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    IllegalTransitionError,
    NotFoundError,
    StoreUnavailableError,
    TransientError,
)
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration.states import state_of
from factory_runtime.services.end_run import cancel_run, close_run_if_done, end_run
from factory_runtime.services.engine import begin_walk, keep_walking, stop_walking
from flows.progress import Progress
from tasks.execution import Execution, JobCall
from tasks.run_job import STOP_GRACE, job_task
from tasks.threads import RENDERS, in_thread

_CANCEL_POLL = 0.5
"""Seconds between two looks at whether somebody asked the run to stop."""

LEFT_OPEN = "left for another process to go on with"
"""Cancelling a flow's task with this message ends the walk and leaves the run as it stands."""

_renders: asyncio.Semaphore | None = None


async def walk_run(runtime: Runtime, tenant_id: str, run_id: str, flow_run_id: str) -> State[Any]:
    """Execute a run to its end; Prefect's state for it.

    A run that has ended already is answered, not run again.
    """
    try:
        taken = await in_thread(begin_walk, runtime.engine, tenant_id, run_id, flow_run_id)
    except (ConflictError, NotFoundError, TransientError):
        raise  # not ours to end
    except FactoryError as error:
        return state_of(await in_thread(_give_up, runtime, tenant_id, run_id, error))
    if isinstance(taken, Run):
        return state_of(taken)
    execution = Execution(runtime, taken, _render_limit())
    try:
        return state_of(await _walk(execution, Progress(flow_run_id, taken)))
    except ConflictError:
        # Somebody else writes this run now, or has ended it: it is theirs to end.
        return state_of(await in_thread(_as_it_stands, runtime, taken.run))
    except StoreUnavailableError:
        raise  # nothing is wrong with the run: the executor that finds it left goes on with it
    except asyncio.CancelledError as stop:
        if LEFT_OPEN in stop.args:
            raise
        # Prefect, or the process, wants this flow to stop now: our record says so first.
        await asyncio.shield(in_thread(_stop, runtime, taken.run, "its flow run was cancelled"))
        raise
    except Exception as error:
        return state_of(await in_thread(_give_up, runtime, tenant_id, run_id, error))
    finally:
        await asyncio.shield(in_thread(stop_walking, runtime.engine, taken.run))


async def _walk(execution: Execution, progress: Progress) -> Run:
    walk = execution.walk
    ended = {job.name: asyncio.Event() for job in walk.plan.jobs}
    for name in walk.endings:
        ended[name].set()

    async def one(name: str) -> None:
        try:
            for need in walk.plan.job(name).needs:
                await ended[need].wait()
            if name not in walk.endings and not execution.stopping:
                await _run_one(execution, name)
        finally:
            ended[name].set()
            progress.changed()

    jobs = [asyncio.create_task(one(name), name=name) for name in ended]
    everything = asyncio.gather(*jobs, return_exceptions=True)
    watch = asyncio.create_task(_watch(execution))
    try:
        async with progress:
            await asyncio.wait([everything, watch], return_when=asyncio.FIRST_COMPLETED)
            if not everything.done():
                await _wind_down(execution, jobs)
                if execution.lost:
                    raise ConflictError(f"run {walk.run.id} was taken over by another process")
                return await in_thread(_stop, execution.runtime, walk.run, "cancelled")
        for result in everything.result():
            if isinstance(result, Exception):
                raise result
        return await in_thread(close_run_if_done, execution.runtime.engine, walk)
    finally:
        watch.cancel()
        if not everything.done():
            await asyncio.shield(_cut_off(execution, jobs))


async def _run_one(execution: Execution, name: str) -> None:
    """Run one job's task; only what is not the job's own failure is raised."""
    walk = execution.walk
    state = await job_task(walk.plan.job(name))(JobCall(execution, name), return_state=True)
    if name not in walk.endings and not execution.stopping:
        # The record could not be written: without it, no job behind this one may start. Those
        # under way may end: they would be Cancelled in a run that can still go on.
        execution.stopping = True
        # Prefect wraps what a task raised; its kind tells whether the run is ours to end.
        error = await state.aresult(raise_on_failure=False)
        raise error if isinstance(error, Exception) else FactoryError(f"{state.message}")


async def _wind_down(execution: Execution, jobs: list[asyncio.Task[None]]) -> None:
    """Stop what is under way: first by asking, then by force. Children are gone after it."""
    execution.stop()
    _, left = await asyncio.wait(jobs, timeout=STOP_GRACE)
    for job in left:
        job.cancel()
    if left:
        await asyncio.wait(left, timeout=STOP_GRACE)


async def _cut_off(execution: Execution, jobs: list[asyncio.Task[None]]) -> None:
    """Stop what is under way by force; who goes on with the run, or ends it, records that."""
    execution.stopping = True
    for job in jobs:
        job.cancel()
    await asyncio.wait(jobs, timeout=2 * STOP_GRACE)


async def _watch(execution: Execution) -> None:
    """Keep the run's lock; return when the run has to stop: asked to, late, or taken over."""
    engine, run = execution.runtime.engine, execution.walk.run
    renew_every = engine.lease.total_seconds() / 4
    renewed = time.monotonic()
    while True:
        try:
            with suppress(IllegalTransitionError):  # it ended while it was looked at
                if await in_thread(_has_to_stop, execution.runtime, run):
                    return
            if time.monotonic() - renewed > renew_every:
                if not await in_thread(keep_walking, engine, run):
                    execution.lost = True
                    return
                renewed = time.monotonic()
        except TransientError:
            pass  # a store that is busy now will answer the next time
        await asyncio.sleep(_CANCEL_POLL)


def _has_to_stop(runtime: Runtime, run: Run) -> bool:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        current = tx.get_run(run.id)
    if current.cancel_requested_at is not None or current.status is RunStatus.CANCELLED:
        return True
    if current.ended or current.deadline_at is None or runtime.clock.now() < current.deadline_at:
        return False
    cancel_run(runtime.store, runtime.clock, run.tenant_id, run.id, "its deadline")
    return True


def _stop(runtime: Runtime, run: Run, reason: str) -> Run:
    current = _as_it_stands(runtime, run)
    if current.ended:  # its last job was quicker
        return current
    reason = current.error or reason
    return end_run(runtime.store, runtime.clock, run.tenant_id, run.id, RunStatus.CANCELLED, reason)


def _as_it_stands(runtime: Runtime, run: Run) -> Run:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.get_run(run.id)


def _give_up(runtime: Runtime, tenant_id: str, run_id: str, error: Exception) -> Run:
    reason = error.explain() if isinstance(error, FactoryError) else repr(error)
    with runtime.store.begin(tenant_id, read_only=True) as tx:
        current = tx.get_run(run_id)
    if current.ended:
        return current
    return end_run(runtime.store, runtime.clock, tenant_id, run_id, RunStatus.FAILED, reason)


def _render_limit() -> asyncio.Semaphore:
    """One limit for all the runs of this process."""
    global _renders
    if _renders is None:
        _renders = asyncio.Semaphore(RENDERS)
    return _renders
