"""One attempt of one job: run the publishing half of its type, record what came of it."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import (
    CancelledError,
    FactoryError,
    HostBusyError,
    PermanentError,
    SuspendedError,
    TransientError,
)
from factory_runtime.domain.ids import effect_key
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.result import ConfirmedEffect, JobResult, WaitUntil
from factory_runtime.domain.tree import TreeReference
from factory_runtime.ports import RunTransaction
from factory_runtime.services import breaker, topic_slots
from factory_runtime.services.attempt import AnotherAttempt, AttemptContext, Begun
from factory_runtime.services.bodies import to_body
from factory_runtime.services.end_job import end_job, stands
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.letters import Failure, bury, resolve
from factory_runtime.services.made_artifacts import made_artifacts
from factory_runtime.services.memory_uses import take_used
from factory_runtime.services.notes import write_logs
from factory_runtime.services.run_secrets import learn_found
from factory_runtime.services.signals import JOB_RETRIED, Signal, signal_job
from factory_runtime.services.steadily import steadily
from factory_runtime.services.stored_tree import StoredTree
from factory_runtime.services.trace_attempt import about_attempt
from factory_runtime.services.undo_job import settle_undone, undo_job
from factory_runtime.services.wake_run import wake_run
from factory_runtime.telemetry.logs import dimensions
from factory_runtime.telemetry.tracing import inside_span

_ERROR_LENGTH = 4000
"""Characters of an error that stand in rows and events; its traceback has it whole."""

_LONGEST_WAIT = timedelta(days=1)
"""However long the other side asks us to stay away."""

_RELEASED: Mapping[str, Any] = {"lease_owner": None, "lease_expires_at": None}


def publish_attempt(
    engine: Engine, walk: Walk, begun: Begun, tree: TreeReference | None
) -> Ending | AnotherAttempt:
    """Run the publishing half and record what came of it, all in one transaction.

    The job has Succeeded then; or it is Waiting, where its type says so.

    Raises:
        Exception: whatever the job type raises; give it to ``fail_attempt``.
    """
    started = time.thread_time()
    context = AttemptContext(engine, walk, begun)
    files = None if tree is None else StoredTree(engine.storage, walk.run.tenant_id, tree)
    context.check_cancelled()
    about = about_attempt(walk.run, begun)
    with inside_span(walk.run.trace_id, begun.attempt.span_id), dimensions(**about):
        if begun.planned.undo_of is None:
            job_type = engine.job_types[begun.planned.type]
            result = job_type.publish(context, begun.with_, files)
        else:
            result = undo_job(engine, walk, begun, context)
    begun.children.kill_all()
    result = begun.secrets.hide(result)
    begun.cpu_seconds += time.thread_time() - started
    context.check_cancelled()  # its type may not have seen that its programs were killed
    if isinstance(result, WaitUntil):
        return _wait(engine, walk, begun, result)
    take_used(engine.store, walk.run, begun.drawing, result.used)
    return _succeed(engine, walk, begun, result)


def _succeed(engine: Engine, walk: Walk, begun: Begun, result: JobResult) -> Ending:
    now = engine.clock.now()
    done = begun.job.move_to(
        JobStatus.SUCCEEDED,
        now,
        outputs=to_body(engine.storage, walk.run.tenant_id, result.outputs),
        cached=begun.cached,
        error=None,
        degraded=result.degraded,
        progress=None if begun.progress is None else 1.0,
        **_RELEASED,
        **result.external_ids,
    )
    closed = _closed(begun, now, Outcome.SUCCEEDED)
    made = made_artifacts(walk.run, begun.attempt, result.artifacts, now, engine.expiry_of)

    def also(tx: RunTransaction) -> None:
        tx.save_attempt(closed)
        tx.add_artifacts(made)
        _confirm(tx, walk, begun, result.effects, now)
        settle_undone(tx, walk, begun, result, now)
        resolve(tx, walk.run, done, now)
        breaker.note_success(tx, begun.hosts, now)

    return _close(engine, walk, begun, done, also, result)


def _wait(engine: Engine, walk: Walk, begun: Begun, wait: WaitUntil) -> AnotherAttempt:
    """The job gives its process and its lease back until a due time."""
    now = engine.clock.now()
    waiting = begun.job.move_to(
        JobStatus.WAITING,
        now,
        not_before=wait.due,
        phrase=wait.phrase,
        **_RELEASED,
        **wait.external_ids,
    )

    def also(tx: RunTransaction) -> None:
        _confirm(tx, walk, begun, wait.effects, now)
        breaker.note_success(tx, begun.hosts, now)
        if begun.asked is not None and tx.get_approval(begun.asked.id).status != begun.asked.status:
            # It was decided before there was a job that waits, for whoever decided it to wake up.
            tx.wake_job(waiting.run_id, waiting.step, now)

    return _come_back(engine, walk, begun, waiting, Outcome.WAITING, wait.phrase, also)


def fail_attempt(
    engine: Engine, walk: Walk, begun: Begun, error: BaseException
) -> Ending | AnotherAttempt:
    """Record that an attempt failed, and decide: another one, or the end of the job.

    One that was suspended, at a safe point, is another one at once, for whoever goes on with it.
    One that failed of a host that is known to be down by now spends nothing of the job's budget.
    """
    begun.children.kill_all()
    learn_found(walk, error)
    now = engine.clock.now()
    outcome = _outcome_of(error)
    message = begun.secrets.hide_in(_message_of(error))
    failed: dict[str, Any] = {
        "error": message,
        "error_code": error.code if isinstance(error, FactoryError) else type(error).__name__,
        "traceback": _trace_of(engine, walk, begun, error),
    }
    if outcome is Outcome.SUSPENDED:
        back = begun.job.move_to(JobStatus.PENDING, now, not_before=None, **_RELEASED)
        return _come_back(engine, walk, begun, back, outcome, message)
    down_until = _note_failure(engine, walk, begun, error, now)
    counts = down_until is None and outcome is not Outcome.CANCELLED
    failures = begun.job.failures + counts
    ended = {"error": message, "failures": failures, **_RELEASED}
    if outcome is Outcome.TRANSIENT and failures < begun.job.max_attempts:
        not_before = max(now + _delay(begun, failures, error), down_until or now)
        again = begun.job.move_to(JobStatus.PENDING, now, not_before=not_before, **ended)
        told = partial(_signal_retry, again, begun.attempt.number, failed["error_code"])
        return _come_back(engine, walk, begun, again, outcome, message, told, **failed)
    status = JobStatus.CANCELLED if outcome is Outcome.CANCELLED else JobStatus.FAILED
    closed = replace(_closed(begun, now, outcome), **failed)
    job = begun.job.move_to(status, now, **ended)
    left_behind = error.artifacts if isinstance(error, PermanentError) else ()
    left_behind = begun.secrets.hide(left_behind)
    made = made_artifacts(walk.run, begun.attempt, left_behind, now, engine.expiry_of)
    failure = Failure(
        failed["error_code"], message, failed["traceback"], _with_of(engine, walk, begun)
    )

    def also(tx: RunTransaction) -> None:
        tx.save_attempt(closed)
        tx.add_artifacts(made)
        if status is JobStatus.FAILED:
            bury(tx, walk.run, job, failure, now)

    return _close(engine, walk, begun, job, also)


def _signal_retry(again: Job, number: int, error_code: str, tx: RunTransaction) -> None:
    facts = {"job_type": again.type, "error_code": error_code, "attempt": number}
    facts["failures"] = again.failures
    signal_job(tx, again, again.updated_at, Signal(JOB_RETRIED, again.step, facts=facts))


def _with_of(engine: Engine, walk: Walk, begun: Begun) -> Body | None:
    """What its type was told; None where the expressions could not be evaluated."""
    if begun.planned.with_ and not begun.with_:
        return None
    try:
        return to_body(engine.storage, walk.run.tenant_id, begun.secrets.hide(begun.with_))
    except FactoryError:
        return None  # a full disk, as of the traceback


def _note_failure(
    engine: Engine, walk: Walk, begun: Begun, error: BaseException, now: datetime
) -> datetime | None:
    """Tell the breakers; until when a host is known to be down."""
    if not begun.hosts or not isinstance(error, HostBusyError):
        return None

    def write(again: bool) -> datetime | None:
        del again  # counted twice, it opens one failure sooner
        with engine.store.begin(walk.run.tenant_id, durable=False) as tx:
            tx.lock_run(walk.run.id)
            began_at = begun.attempt.started_at
            return breaker.note_failure(tx, begun.hosts, error, now, began_at)

    return steadily(write, engine.lease)


def _come_back(
    engine: Engine,
    walk: Walk,
    begun: Begun,
    job: Job,
    outcome: Outcome,
    reason: str,
    also: Callable[[RunTransaction], None] = lambda _tx: None,
    **facts: Any,
) -> AnotherAttempt:
    """Record an attempt that another one is to follow."""
    now = job.updated_at
    closed = replace(_closed(begun, now, outcome), **facts)
    detail = _detail(begun, now, reason=reason)
    lines = begun.take_logs()

    def write(again: bool) -> None:
        with engine.store.begin(walk.run.tenant_id) as tx:
            if again and stands(tx, job):
                return
            run = None if walk.routed is None else tx.lock_run(walk.run.id)
            tx.save_job(begun.job, job, detail=detail)
            tx.save_attempt(closed)
            also(tx)
            if run is not None:  # its walk is elsewhere
                wake_run(tx, run, job.not_before or now, now)
            begun.drawing.write(tx, job.run_id, now)
            write_logs(tx, begun, lines)

    try:
        steadily(write, engine.lease)
    except BaseException:
        begun.return_logs(lines)
        raise
    walk.jobs[job.step] = job
    topic_slots.hand_on(engine, walk.run.tenant_id, job.type)
    return AnotherAttempt(job.not_before or now, outcome, reason)


def _close(
    engine: Engine,
    walk: Walk,
    begun: Begun,
    ended: Job,
    also: Callable[[RunTransaction], None],
    result: JobResult | None = None,
) -> Ending:
    reason = {"reason": ended.error} if ended.error else {}
    detail = _detail(begun, ended.updated_at, **reason)
    lines = begun.take_logs()

    def everything(tx: RunTransaction) -> None:
        also(tx)
        begun.drawing.write(tx, ended.run_id, ended.updated_at)
        write_logs(tx, begun, lines)

    ending = Ending(ended.status)
    try:
        end_job(engine, walk, begun.job, ended, ending, detail, everything, result)
    except BaseException:
        begun.return_logs(lines)  # for the record of how it failed
        raise
    topic_slots.hand_on(engine, walk.run.tenant_id, ended.type)
    return ending


def _confirm(
    tx: RunTransaction,
    walk: Walk,
    begun: Begun,
    effects: tuple[ConfirmedEffect, ...],
    now: datetime,
) -> None:
    key = effect_key(walk.run.id, begun.job.step)
    for effect in effects:
        tx.confirm_effect(key, effect.kind, effect.reference, now, link=effect.link)


def _closed(begun: Begun, now: datetime, outcome: Outcome) -> Attempt:
    return replace(
        begun.attempt,
        completed_at=now,
        outcome=outcome,
        cached=begun.cached,
        cpu_seconds=round(begun.cpu_seconds, 6),
        peak_memory_bytes=begun.peak_memory_bytes,
    )


def _detail(begun: Begun, now: datetime, **more: Any) -> dict[str, Any]:
    seconds = (now - begun.attempt.started_at).total_seconds()
    facts = {"attempt": begun.attempt.number, "seconds": round(seconds, 3), **more}
    return facts if begun.cached is None else {**facts, "cached": begun.cached}


def _outcome_of(error: BaseException) -> Outcome:
    match error:
        case CancelledError():
            return Outcome.CANCELLED
        case SuspendedError():
            return Outcome.SUSPENDED
        case TransientError():
            return Outcome.TRANSIENT
        case _:
            return Outcome.PERMANENT


def _message_of(error: BaseException) -> str:
    whole = (
        error.explain() if isinstance(error, FactoryError) else f"{type(error).__name__}: {error}"
    )
    return whole if len(whole) <= _ERROR_LENGTH else f"{whole[:_ERROR_LENGTH]}…"


def _trace_of(engine: Engine, walk: Walk, begun: Begun, error: BaseException) -> Body:
    trace = begun.secrets.hide_in("".join(traceback.format_exception(error)))
    try:
        return to_body(engine.storage, walk.run.tenant_id, trace)
    except FactoryError:
        # A full disk may be what the attempt failed of: its record needs no room there.
        return Body(inline=f"{trace[:_ERROR_LENGTH]}…")


def _delay(begun: Begun, failures: int, error: BaseException) -> timedelta:
    policy = begun.planned.retry
    planned = policy.delay_before(max(failures, 1) + 1)
    stretched = planned * (1 + random.random() * policy.jitter)  # noqa: S311 - spreads load
    asked = error.retry_after if isinstance(error, TransientError) else None
    return max(stretched, min(asked or timedelta(0), _LONGEST_WAIT))
