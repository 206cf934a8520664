"""One attempt of one job: claim it, run both halves of its type, record what came of it."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from factory_runtime.compiler.expressions import evaluate
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import (
    CancelledError,
    FactoryError,
    InvalidInputsError,
    Problem,
    TransientError,
)
from factory_runtime.domain.ids import attempt_key, effect_key, new_id
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.plan import PlannedJob
from factory_runtime.domain.progress import Ending, StepOutputs, Verdict, verdict
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.domain.tree import TreeReference
from factory_runtime.jobs.registry import check_with
from factory_runtime.ports import RunTransaction
from factory_runtime.services.attempt import AnotherAttempt, AttemptContext, Begun, StoredTree
from factory_runtime.services.bodies import to_body
from factory_runtime.services.end_run import close_run_if_last, run_to_write
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.telemetry import new_span_id

_ERROR_LENGTH = 4000
"""Characters of an error that stand in rows and events; its traceback has it whole."""

_LONGEST_WAIT = timedelta(days=1)
"""However long the other side asks us to stay away."""


def begin_attempt(engine: Engine, walk: Walk, name: str) -> Begun | Ending | AnotherAttempt:
    """Claim a job whose needs have all ended; or skip it; or tell how it ended already.

    Raises:
        StaleVersionError: somebody else moved the job.
        DuplicateAttemptError: this attempt was begun before.
    """
    if name in walk.endings:
        return walk.endings[name]
    planned = walk.plan.job(name)
    decided = verdict(walk.plan, planned, walk.endings)
    wrong: FactoryError | None = None
    try:
        if decided is Verdict.RUN and planned.when and not _holds(walk, planned):
            decided = Verdict.SKIP_CONDITION
    except FactoryError as error:
        wrong = error
    if decided is not Verdict.RUN:
        return _skip(engine, walk, name, SkipReason(decided.value))
    begun = _claim(engine, walk, planned)
    try:
        if wrong is not None:
            raise wrong
        begun.with_ = evaluate(planned.with_, _scope(walk, planned))
        job_type = engine.job_types[planned.type]
        _refuse_bad_with(planned, job_type.facts, begun.with_)
        begun.order = job_type.render(begun.with_)
    except Exception as error:
        return fail_attempt(engine, walk, begun, error)
    return begun


def publish_attempt(engine: Engine, walk: Walk, begun: Begun, tree: TreeReference | None) -> Ending:
    """Run the publishing half and record the job as Succeeded, all in one transaction.

    Raises:
        Exception: whatever the job type raises; give it to ``fail_attempt``.
    """
    started = time.thread_time()
    context = AttemptContext(engine, walk, begun)
    files = None if tree is None else StoredTree(engine.storage, walk.run.tenant_id, tree)
    context.check_cancelled()
    job_type = engine.job_types[begun.planned.type]
    result = job_type.publish(context, begun.with_, files)
    begun.cpu_seconds += time.thread_time() - started
    now = engine.clock.now()
    done = begun.job.move_to(
        JobStatus.SUCCEEDED,
        now,
        outputs=to_body(engine.storage, walk.run.tenant_id, result.outputs),
        cached=begun.cached,
        lease_owner=None,
        lease_expires_at=None,
        error=None,
        **result.external_ids,
    )
    closed = _closed(begun, now, Outcome.SUCCEEDED)

    def also(tx: RunTransaction) -> None:
        # Once the job is known to be ours still: closing the run reads the outputs of all its jobs.
        walk.outputs[begun.job.step] = result.outputs
        tx.save_attempt(closed)
        tx.add_artifacts(_artifacts(walk, begun, result, now))
        for effect in result.effects:
            tx.confirm_effect(
                effect_key(walk.run.id, begun.job.step), effect.kind, effect.reference, now
            )

    try:
        return _close(engine, walk, begun, done, also, result.external_ids)
    except BaseException:
        if walk.outputs.get(begun.job.step) is result.outputs:
            del walk.outputs[begun.job.step]
        raise


def fail_attempt(
    engine: Engine, walk: Walk, begun: Begun, error: BaseException
) -> Ending | AnotherAttempt:
    """Record that an attempt failed, and decide: another one, or the end of the job."""
    now = engine.clock.now()
    outcome = _outcome_of(error)
    message = _message_of(error)
    closed = replace(
        _closed(begun, now, outcome),
        error=message,
        error_code=error.code if isinstance(error, FactoryError) else type(error).__name__,
        traceback=_trace_of(engine, walk, error),
    )
    released: dict[str, Any] = {"lease_owner": None, "lease_expires_at": None, "error": message}
    if outcome is Outcome.TRANSIENT and begun.job.attempt < begun.job.max_attempts:
        not_before = now + _delay(begun, error)
        again = begun.job.move_to(JobStatus.PENDING, now, not_before=not_before, **released)
        with engine.store.begin(walk.run.tenant_id) as tx:
            tx.save_job(begun.job, again, detail=_detail(begun, now, reason=message))
            tx.save_attempt(closed)
            _write_logs(tx, walk, begun)
        walk.jobs[again.step] = again
        return AnotherAttempt(not_before, message)
    cancelled = outcome is Outcome.CANCELLED
    ended = begun.job.move_to(
        JobStatus.CANCELLED if cancelled else JobStatus.FAILED, now, **released
    )
    return _close(engine, walk, begun, ended, _saving(closed))


# --- claiming


def _claim(engine: Engine, walk: Walk, planned: PlannedJob) -> Begun:
    before = walk.jobs[planned.name]
    now = engine.clock.now()
    number = before.attempt + 1
    span_id = new_span_id()
    job = before.move_to(
        JobStatus.RUNNING,
        now,
        attempt=number,
        last_attempt_at=now,
        lease_owner=engine.worker,
        lease_expires_at=now + engine.lease,
        fencing_token=before.fencing_token + 1,
        not_before=None,
        span_id=span_id,
    )
    attempt = Attempt(
        key=attempt_key(walk.run.id, planned.name, number),
        tenant_id=walk.run.tenant_id,
        run_id=walk.run.id,
        step=planned.name,
        number=number,
        fencing_token=job.fencing_token,
        started_at=now,
        worker=engine.worker,
        environment=engine.environment,
        span_id=span_id,
    )
    with engine.store.begin(walk.run.tenant_id) as tx:
        tx.add_attempt(attempt)
        tx.save_job(before, job, detail={"attempt": number})
    walk.jobs[job.step] = job
    return Begun(planned, job, attempt, with_={}, order=None)


def _skip(engine: Engine, walk: Walk, name: str, reason: SkipReason) -> Ending:
    before = walk.jobs[name]
    skipped = before.move_to(JobStatus.SKIPPED, engine.clock.now(), skip_reason=reason)
    ending = Ending(JobStatus.SKIPPED, reason)
    _end_job(engine, walk, before, skipped, ending, {"reason": reason.value})
    return ending


def _holds(walk: Walk, planned: PlannedJob) -> bool:
    return bool(evaluate(planned.when, _scope(walk, planned)))


def _scope(walk: Walk, planned: PlannedJob) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "inputs": walk.inputs,
        "steps": StepOutputs(walk.plan, walk.outputs),
        "run": walk.run_facts(),
    }
    if planned.item_key is not None:
        scope["item"] = planned.item
    return scope


def _refuse_bad_with(planned: PlannedJob, facts: JobTypeFacts, with_: Mapping[str, Any]) -> None:
    """Check what compiling could not: the values that expressions gave."""
    place = f"{planned.name}.with"
    if wrong := check_with(facts, with_):
        raise InvalidInputsError(
            f"what job {planned.name} was given is not what it takes",
            [Problem(place, 0, 0, "schema", message) for message in wrong],
        )


# --- closing


def _close(
    engine: Engine,
    walk: Walk,
    begun: Begun,
    ended: Job,
    also: Callable[[RunTransaction], None],
    external_ids: Mapping[str, str] | None = None,
) -> Ending:
    reason = {"reason": ended.error} if ended.error else {}
    detail = _detail(begun, ended.updated_at, **reason)

    def everything(tx: RunTransaction) -> None:
        also(tx)
        _write_logs(tx, walk, begun)

    ending = Ending(ended.status)
    _end_job(engine, walk, begun.job, ended, ending, detail, everything, external_ids or {})
    return ending


def _end_job(
    engine: Engine,
    walk: Walk,
    before: Job,
    ended: Job,
    ending: Ending,
    detail: Mapping[str, Any],
    also: Callable[[RunTransaction], None] = lambda _tx: None,
    external_ids: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the end of a job; the last one closes the run in the same transaction."""
    with walk.lock:
        with engine.store.begin(walk.run.tenant_id) as tx:
            run = run_to_write(walk, tx, ended, external_ids)
            tx.save_job(before, ended, detail=detail)
            also(tx)
            if run is not None:
                endings = {**walk.endings, ended.step: ending}
                run = close_run_if_last(engine, walk, tx, run, endings, external_ids)
        walk.jobs[ended.step] = ended
        walk.endings[ended.step] = ending
        walk.run = run or walk.run


def _saving(attempt: Attempt) -> Callable[[RunTransaction], None]:
    return lambda tx: tx.save_attempt(attempt)


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


def _write_logs(tx: RunTransaction, walk: Walk, begun: Begun) -> None:
    for at, line in begun.logs:
        detail = {"message": line, "attempt": begun.attempt.number}
        tx.add_event(RunEvent(tx.tenant_id, walk.run.id, at, "log", begun.job.step, detail=detail))


def _artifacts(walk: Walk, begun: Begun, result: JobResult, now: datetime) -> list[Artifact]:
    return [
        Artifact(
            id=new_id("art"),
            tenant_id=walk.run.tenant_id,
            run_id=walk.run.id,
            step=begun.job.step,
            kind=draft.kind,
            name=draft.name,
            uri=draft.uri,
            media_type=draft.media_type,
            creator=begun.attempt.key,
            created_at=now,
            project_id=walk.run.project_id,
            size=draft.size,
            sha256=draft.sha256,
            classification=draft.classification,
            metadata=draft.metadata,
        )
        for draft in result.artifacts
    ]


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, CancelledError):
        return Outcome.CANCELLED
    return Outcome.TRANSIENT if isinstance(error, TransientError) else Outcome.PERMANENT


def _message_of(error: BaseException) -> str:
    whole = (
        error.explain() if isinstance(error, FactoryError) else f"{type(error).__name__}: {error}"
    )
    return whole if len(whole) <= _ERROR_LENGTH else f"{whole[:_ERROR_LENGTH]}…"


def _trace_of(engine: Engine, walk: Walk, error: BaseException) -> Body:
    trace = "".join(traceback.format_exception(error))
    try:
        return to_body(engine.storage, walk.run.tenant_id, trace)
    except FactoryError:
        # A full disk may be what the attempt failed of: its record needs no room there.
        return Body(inline=f"{trace[:_ERROR_LENGTH]}…")


def _delay(begun: Begun, error: BaseException) -> timedelta:
    policy = begun.planned.retry
    planned = policy.delay_before(begun.job.attempt + 1)
    stretched = planned * (1 + random.random() * policy.jitter)  # noqa: S311 - spreads load
    asked = error.retry_after if isinstance(error, TransientError) else None
    return max(stretched, min(asked or timedelta(0), _LONGEST_WAIT))
