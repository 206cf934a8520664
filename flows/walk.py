"""Walk a plan: start every job the moment its needs have ended, stop when somebody asks for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, assert_never

from prefect.client.schemas.objects import State
from prefect.exceptions import Abort

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    NotFoundError,
    SettingsError,
    TransientError,
)
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration.sent_jobs import send_now
from factory_runtime.orchestration.states import state_of
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.end_run import close_run_if_done, end_run
from factory_runtime.services.engine import Walk, begin_walk, hold_walk, stop_walking
from factory_runtime.services.put_down import put_down
from factory_runtime.services.send_job import comes_back
from factory_runtime.services.topic_slots import look_again
from factory_runtime.services.trace_request import about_run
from factory_runtime.telemetry.logs import dimensions
from flows.progress import Progress
from flows.watch import Why, watch_run, why_left
from tasks.execution import Execution, JobCall
from tasks.gate import Gate
from tasks.run_job import STOP_GRACE, job_task
from tasks.threads import JOBS, RENDERS, in_thread, on_sender_thread

_LOOK_AGAIN = 0.5
_HEAR_AGAIN = 0.2
"""Of a job that is done elsewhere: those behind it begin within a second of its end."""

_limits: tuple[Gate, asyncio.Semaphore] | None = None
under_way: set[Execution] = set()
"""What this process is at; whoever executes something keeps it in here."""


async def walk_run(runtime: Runtime, tenant_id: str, run_id: str, flow_run_id: str) -> State[Any]:
    """Execute a run to its end; Prefect's state for it.

    A run that has ended already is answered, not run again.

    Raises:
        Abort: the flow leaves the run open: it is another's, paused, waits, or cannot be recorded
            now. Prefect is told of its status, and sets no state of its own.
    """
    try:
        taken = await _take_up(runtime, tenant_id, run_id, flow_run_id)
    except (ConflictError, NotFoundError, SettingsError, TransientError) as error:
        raise Abort(f"{run_id} is not taken up: {type(error).__name__}") from error
    except FactoryError as error:
        return state_of(await in_thread(_fail, runtime, tenant_id, run_id, error))
    if isinstance(taken, Run):
        return await _tell(runtime, taken)
    execution = Execution(runtime, taken, *shared_limits())
    under_way.add(execution)
    try:
        with dimensions(**about_run(taken.run)):
            run = await _walk_to_the_end(execution, flow_run_id)
    except TransientError as error:
        raise Abort(f"{run_id} cannot be recorded now") from error
    finally:
        under_way.discard(execution)
        with suppress(TransientError):  # it expires by itself
            await asyncio.shield(in_thread(stop_walking, runtime.engine, taken))
    return await _tell(runtime, run)


async def _take_up(runtime: Runtime, tenant_id: str, run_id: str, flow_run_id: str) -> Walk | Run:
    """The walk; where this flow is stopped meanwhile, the run as it stands for others to take."""
    taking = asyncio.ensure_future(
        in_thread(begin_walk, runtime.engine, tenant_id, run_id, flow_run_id)
    )

    async def put_back() -> Run:
        taken = await taking
        return taken if isinstance(taken, Run) else await in_thread(put_down, runtime.engine, taken)

    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        return await asyncio.shield(put_back())


async def _tell(runtime: Runtime, run: Run) -> State[Any]:
    """Prefect's state of a run that has ended; of another it is told how that stands."""
    if run.ended:
        return state_of(run)
    with suppress(TransientError):  # the outbox tells it later
        # As it stands by now: another process may have taken it up already.
        current = await in_thread(_as_it_stands, runtime, run)
        await in_thread(runtime.launcher.show_status, current)
    raise Abort(f"{run.id} is {run.status}")


def is_walking() -> bool:
    """Whether a run of ours is under way in this process."""
    return bool(under_way)


def leave_walks() -> None:
    """Have every run of this process put down as soon as its jobs under way have ended."""
    for execution in under_way:
        execution.leave()


async def _walk_to_the_end(execution: Execution, flow_run_id: str) -> Run:
    """The run as it stands when this process has nothing more to do with it."""
    runtime, walk = execution.runtime, execution.walk
    try:
        return await _walk(execution, Progress(flow_run_id, execution))
    except ConflictError:
        # Somebody else writes this run now, or has ended it: it is theirs to end.
        return await in_thread(_as_it_stands, runtime, walk.run)
    except TransientError:
        raise  # nothing is wrong with the run: the executor that finds it left goes on with it
    except asyncio.CancelledError:
        # This process is to end, or Prefect wants this flow to: neither says that nobody wants the
        # run. Where somebody cancelled it in Prefect, the sweep sees it there.
        return await asyncio.shield(in_thread(put_down, runtime.engine, walk))
    except Exception as error:
        return await in_thread(_give_up, runtime, walk, error)


async def _walk(execution: Execution, progress: Progress) -> Run:
    walk = execution.walk
    ended = {job.name: asyncio.Event() for job in walk.plan.jobs}
    for name in walk.endings:
        ended[name].set()

    async def one(name: str) -> None:
        try:
            for need in walk.plan.job(name).needs:
                await ended[need].wait()
            await _run_until_ended(execution, name)
        finally:
            ended[name].set()

    jobs = [asyncio.create_task(one(name), name=name) for name in ended]
    everything = asyncio.gather(*jobs, return_exceptions=True)
    watch = asyncio.create_task(watch_run(execution))
    try:
        async with progress:
            await asyncio.wait([everything, watch], return_when=asyncio.FIRST_COMPLETED)
        if not everything.done():
            why = watch.result()
            await wind_down(execution, jobs, by_asking=why is Why.CANCEL)
            return await _end_early(execution, why)
        for result in everything.result():
            if isinstance(result, Exception):
                raise result
        if len(walk.endings) < len(walk.plan.jobs):
            return await _end_early(execution, why_left(execution))
        return await in_thread(close_run_if_done, execution.runtime.engine, walk)
    finally:
        watch.cancel()
        if not everything.done():
            await asyncio.shield(wind_down(execution, jobs, by_asking=False))


async def _end_early(execution: Execution, why: Why) -> Run:
    """Record that the run's jobs are not gone on with here."""
    runtime, walk = execution.runtime, execution.walk
    match why:
        case Why.LOST:
            raise ConflictError(f"run {walk.run.id} was taken over by another process")
        case Why.CANCEL:
            return await in_thread(_stop, runtime, walk, "cancelled")
        case Why.PAUSE:
            return await in_thread(put_down, runtime.engine, walk, RunStatus.PAUSED)
        case Why.WAIT:
            wake_at = min(later.comes_back_at for later in execution.later.values())
            return await in_thread(put_down, runtime.engine, walk, RunStatus.WAITING, wake_at)
        case Why.LEAVE:
            return await in_thread(put_down, runtime.engine, walk)
        case _:
            assert_never(why)


async def _run_until_ended(execution: Execution, name: str) -> None:
    """Run a job's task, and again whenever the job has not ended with it, but waits."""
    walk = execution.walk
    job, now = walk.jobs[name], execution.runtime.clock.now()
    if name not in walk.endings and (later := comes_back(job, now)) is not None:
        execution.later[name] = later  # as an earlier process has left it
    while name not in walk.endings and execution.begins_jobs:
        if not await _may_go_on(execution, name):
            continue
        await execution.entrance.enter(execution.rank(name), walk.jobs[name].position)
        call = JobCall(execution, name)
        try:
            if execution.begins_jobs:  # it may have waited for its turn
                execution.at_work.add(name)
                await run_one(call)
        finally:
            execution.at_work.discard(name)
            call.go_in()


async def _may_go_on(execution: Execution, name: str) -> bool:
    """Whether nothing is to be waited for; else a part of the wait is over."""
    later = execution.later.get(name)
    if later is None:
        return True
    left = (later.not_before - execution.runtime.clock.now()).total_seconds()
    if left > 0:
        is_elsewhere = execution.walk.jobs[name].routed_to is not None
        await asyncio.sleep(min(left, _HEAR_AGAIN if is_elsewhere else _LOOK_AGAIN))
        return False
    if later.away_until is not None and (again := await _look_in_line(execution, name)):
        execution.later[name] = again
        return False
    del execution.later[name]
    return True


async def _look_in_line(execution: Execution, name: str) -> AnotherAttempt | None:
    """A look of a job in line for its topic: one a second would be too many tasks of Prefect's."""
    walk = execution.walk
    execution.at_work.add(name)
    try:
        return await in_thread(look_again, execution.runtime.engine, walk, walk.jobs[name])
    finally:
        execution.at_work.discard(name)


async def run_one(call: JobCall) -> None:
    """Run one job's task; only what is not the job's own failure is raised."""
    execution, name, walk = call.execution, call.name, call.execution.walk
    state = await job_task(walk.plan.job(name))(call, return_state=True)
    if name not in walk.endings and name not in execution.later and not execution.stopping:
        # The record could not be written: without it, no job behind this one may start. Those
        # under way may end: they would be Cancelled in a run that can still go on.
        execution.stopping = True
        # Prefect wraps what a task raised; its kind tells whether the run is ours to end.
        error = await state.aresult(raise_on_failure=False)
        raise error if isinstance(error, Exception) else FactoryError(f"{state.message}")
    if walk.routed is None and walk.jobs[name].routed_to is not None:
        on_sender_thread(send_now, execution.runtime.store, execution.runtime.clock)


async def wind_down(
    execution: Execution, jobs: list[asyncio.Task[None]], *, by_asking: bool
) -> None:
    """Stop what is under way: first by asking, then by force. Children are gone after it.

    By force alone where who goes on with the run, or ends it, records what became of the jobs.
    """
    execution.stopping = True
    left = set(jobs)
    if by_asking:
        await execution.stop()
        _, left = await asyncio.wait(jobs, timeout=STOP_GRACE)
    for job in left:
        job.cancel()
    if left:
        await asyncio.wait(left, timeout=2 * STOP_GRACE)


def _stop(runtime: Runtime, walk: Walk, reason: str) -> Run:
    """Cancel the run, unless its last job was quicker or another process has it."""
    reason = _as_it_stands(runtime, walk.run).error or reason
    return _end(runtime, walk, RunStatus.CANCELLED, reason)


def _give_up(runtime: Runtime, walk: Walk, error: Exception) -> Run:
    """Fail the run, unless another process has it."""
    return _end(runtime, walk, RunStatus.FAILED, _reason_of(error))


def _end(runtime: Runtime, walk: Walk, status: RunStatus, reason: str) -> Run:
    run, engine = walk.run, runtime.engine
    try:
        return end_run(
            runtime.store,
            runtime.clock,
            run.tenant_id,
            run.id,
            status,
            reason,
            fence=lambda tx: hold_walk(engine, tx, walk),
        )
    except ConflictError:
        return _as_it_stands(runtime, run)


def _fail(runtime: Runtime, tenant_id: str, run_id: str, error: FactoryError) -> Run:
    """Fail a run that cannot be taken up at all."""
    with suppress(ConflictError):  # it has ended
        reason = _reason_of(error)
        end_run(runtime.store, runtime.clock, tenant_id, run_id, RunStatus.FAILED, reason)
    with runtime.store.begin(tenant_id, read_only=True) as tx:
        return tx.get_run(run_id)


def _reason_of(error: Exception) -> str:
    return error.explain() if isinstance(error, FactoryError) else repr(error)


def _as_it_stands(runtime: Runtime, run: Run) -> Run:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.get_run(run.id)


def shared_limits() -> tuple[Gate, asyncio.Semaphore]:
    """Of jobs at work and of renders, for all the runs of this process."""
    global _limits
    if _limits is None:
        _limits = Gate(JOBS), asyncio.Semaphore(RENDERS)
    return _limits
