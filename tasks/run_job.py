"""One retryable Prefect task per job."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import JobFailedError, JobTimeoutError, TransientError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.plan import PlannedJob
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.template import RetryPolicy
from factory_runtime.orchestration.states import waiting_state
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from factory_runtime.services.trace_attempt import tell_attempt
from tasks.execution import JobCall
from tasks.render_tree import tree_of
from tasks.threads import in_job_thread, in_thread

STOP_GRACE = 4.0
"""Seconds that a stopped attempt's thread gets to kill its child and return."""

LONGEST_IN_TASK = timedelta(seconds=15)
"""Waits longer than Prefect's own delays are not spent inside a task, which would hold it."""

_LOOK_AGAIN = 0.5


class AttemptFailedError(TransientError):
    """Tells Prefect to retry the task: the store has allowed another attempt."""


def may_retry(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Prefect's retry condition: the store decided, and says so by the kind of exception."""
    del task, task_run
    return isinstance(state.data, AttemptFailedError)


def job_task(planned: PlannedJob) -> Task[..., Any]:
    """The task of one job: named after its step, retried as its policy says."""
    return _step_task(planned.step, planned.retry)


@lru_cache(maxsize=1024)
def _step_task(step: str, policy: RetryPolicy) -> Task[..., Any]:
    # Kept: Prefect reads and parses the function's source for every task that is made of it.
    return run_job.with_options(
        name=step,
        retries=policy.max_attempts - 1,
        retry_delay_seconds=[
            policy.delay_before(attempt).total_seconds()
            for attempt in range(2, policy.max_attempts + 1)
        ],
    )


@task(
    name="job",
    task_run_name="{call.name}",
    persist_result=False,
    retry_condition_fn=may_retry,
)
async def run_job(call: JobCall) -> Any:
    """Attempt a job once.

    Raises:
        AttemptFailedError: it may be tried again.
        JobFailedError: it may not.
    """
    execution = call.execution
    await asyncio.sleep(0)  # still at the entrance: jobs that are ready begin before others come
    call.go_in()
    await _until_allowed(call)
    # Before the job is claimed and its time begins.
    async with execution.slots.inside(execution.rank(call.name)):
        if execution.stopping:
            return Cancelled(message="the run is being stopped")
        if not execution.begins_jobs:
            reason = "its run is put down"
            return _put_off(call, AnotherAttempt(_now(call), Outcome.SUSPENDED, reason))
        ended: Ending | AnotherAttempt | None = None
        try:
            ended = await _in_time(call)
            return _answer(call, ended)
        finally:
            if begun := execution.attempts.pop(call.name, None):
                tell_attempt(execution.walk.run, begun, _now(call), ended)


async def _in_time(call: JobCall) -> Ending | AnotherAttempt:
    """One attempt, stopped where it takes longer than its job may, or is cancelled."""
    execution = call.execution
    work = asyncio.ensure_future(_attempt(call))
    limit = execution.walk.plan.job(call.name).timeout
    try:
        done, _ = await asyncio.wait([work], timeout=limit.total_seconds())
        if not done and not await _gave_up(work, call):
            raise JobTimeoutError(
                f"job {call.name} took longer than {limit}",
                hint="raise the step's timeout, or find what it waits for",
            )
        return work.result()
    except asyncio.CancelledError:
        await _gave_up(work, call)
        raise
    except Exception as error:
        begun = execution.attempts.get(call.name)
        if begun is None:  # it was never claimed: somebody else has it
            raise
        return await in_thread(fail_attempt, execution.runtime.engine, execution.walk, begun, error)


async def _gave_up(work: asyncio.Future[Ending | AnotherAttempt], call: JobCall) -> bool:
    """Stop an attempt's halves; True where it got done after all."""
    if begun := call.execution.attempts.get(call.name):
        await in_thread(begun.stop)
    await asyncio.wait([work], timeout=STOP_GRACE)
    if not work.done():
        work.cancel()
        return False
    return work.exception() is None


async def _attempt(call: JobCall) -> Ending | AnotherAttempt:
    execution = call.execution
    begun = await in_job_thread(_begin, call)
    if not isinstance(begun, Begun):
        return begun
    tree = await tree_of(call)
    return await in_job_thread(
        publish_attempt, execution.runtime.engine, execution.walk, begun, tree
    )


def _begin(call: JobCall) -> Begun | Ending | AnotherAttempt:
    """Claim the job; where nothing is to be rendered, publish at once and save a thread's turn."""
    execution = call.execution
    engine, walk = execution.runtime.engine, execution.walk
    begun = begin_attempt(engine, walk, call.name)
    if not isinstance(begun, Begun):
        return begun
    execution.attempts[call.name] = begun
    return begun if begun.order is not None else publish_attempt(engine, walk, begun, None)


async def _until_allowed(call: JobCall) -> None:
    """Wait for the store's ``not_before``, a little later than what Prefect's delays know of."""
    if call.execution.walk.routed is not None:
        return  # it was sent here when its time had come
    not_before = call.execution.walk.jobs[call.name].not_before
    while call.execution.begins_jobs and not_before is not None and not_before > _now(call):
        left = (not_before - _now(call)).total_seconds()
        await asyncio.sleep(min(left, _LOOK_AGAIN))


def _now(call: JobCall) -> datetime:
    return call.execution.runtime.clock.now()


def _put_off(call: JobCall, another: AnotherAttempt) -> State[Any]:
    """End the task though its job has not ended: the walk comes back to it."""
    call.execution.later[call.name] = another
    return waiting_state(call.execution.walk.jobs[call.name].id)


def _answer(call: JobCall, ended: Ending | AnotherAttempt) -> Any:
    job = call.execution.walk.jobs[call.name]
    if isinstance(ended, AnotherAttempt):
        # One that was sent here is sent again by the walk of its run.
        is_ours = call.execution.walk.routed is None
        soon = is_ours and ended.not_before - _now(call) <= LONGEST_IN_TASK
        if ended.outcome is Outcome.TRANSIENT and soon:
            # What went wrong is in our record; Prefect keeps only what is ours.
            raise AttemptFailedError(f"attempt {job.attempt} of {call.name} failed")
        return _put_off(call, ended)
    if ended.status is JobStatus.SUCCEEDED:
        return job.id
    if ended.status is JobStatus.SKIPPED:
        reason = ended.skip_reason.value if ended.skip_reason else ""
        return Completed(name="Skipped", message=reason)
    if ended.status is JobStatus.CANCELLED:
        return Cancelled(message="the run was cancelled")
    get_run_logger().error("see `factory runs show %s`", job.run_id)
    raise JobFailedError(job.run_id, call.name)
