"""Begin an attempt: claim a job whose needs have all ended, or skip it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from factory_runtime.compiler.expressions import evaluate
from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.errors import (
    FactoryError,
    InvalidInputsError,
    PolicyUnavailableError,
    Problem,
)
from factory_runtime.domain.ids import attempt_key
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.plan import PlannedJob
from factory_runtime.domain.progress import Ending, Verdict, verdict
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.jobs.registry import check_with
from factory_runtime.services import breaker, topic_slots
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.end_job import end_job, stands
from factory_runtime.services.engine import Engine, Walk, hold_walk
from factory_runtime.services.run_attempt import fail_attempt
from factory_runtime.services.run_secrets import learn_earlier_loans
from factory_runtime.services.scope import job_scope
from factory_runtime.services.send_job import send_or_find
from factory_runtime.services.steadily import steadily
from factory_runtime.telemetry import new_span_id
from factory_runtime.telemetry.trace_context import job_span_id


def begin_attempt(engine: Engine, walk: Walk, name: str) -> Begun | Ending | AnotherAttempt:
    """Claim a job whose needs have all ended; or skip it; or tell how it ended already.

    Raises:
        StaleVersionError: somebody else moved the job.
        LeaseLostError: somebody else has the run.
        DuplicateAttemptError: this attempt was begun before.
    """
    if name in walk.endings:
        return walk.endings[name]
    planned = walk.plan.job(name)
    under_way = walk.jobs[name].is_under_way
    decided = verdict(walk.plan, planned, walk.endings, under_way=under_way)
    wrong: FactoryError | None = None
    try:
        if decided is Verdict.RUN and planned.when and not _holds(walk, planned):
            decided = Verdict.SKIP_CONDITION
    except FactoryError as error:
        wrong = error
    if decided is not Verdict.RUN:
        return _skip(engine, walk, name, SkipReason(decided.value))
    if (elsewhere := send_or_find(engine, walk, name)) is not None:
        return elsewhere
    begun = _claim(engine, walk, planned)
    if isinstance(begun, AnotherAttempt):
        return begun
    try:
        if wrong is not None:
            raise wrong
        if planned.undo_of is not None:
            return begun  # what it is to undo stands in the ledger: it is given nothing else
        learn_earlier_loans(engine, walk)
        begun.with_ = evaluate(planned.with_, job_scope(walk, planned))
        job_type = engine.job_types[planned.type]
        _refuse_bad_with(planned, job_type.facts, begun.with_)
        begun.order = job_type.render(begun.with_)
    except Exception as error:
        return fail_attempt(engine, walk, begun, error)
    return begun


def _claim(engine: Engine, walk: Walk, planned: PlannedJob) -> Begun | AnotherAttempt:
    before = walk.jobs[planned.name]
    now = engine.clock.now()
    hosts = _hosts_of(engine, planned)
    job = before.move_to(
        JobStatus.RUNNING,
        now,
        attempt=before.attempt + 1,
        last_attempt_at=now,
        lease_owner=walk.holder,
        lease_expires_at=now + engine.lease,
        fencing_token=before.fencing_token + 1,
        not_before=None,
        span_id=job_span_id(walk.run.id, before.step, walk.run.cycle),
    )
    attempt = _opened(engine, walk, job, now)
    try:
        caps = topic_slots.find_caps(engine, walk.run.tenant_id, planned.type, now)
    except PolicyUnavailableError as error:
        return topic_slots.unreadable(engine, error)

    def write(again: bool) -> AnotherAttempt | None:
        # Nothing outside is done before an intent is written down durably.
        with engine.store.begin(walk.run.tenant_id, durable=False) as tx:
            if again and stands(tx, job):
                return None
            if hosts or caps is not None:
                tx.lock_run(walk.run.id)  # before the breaker, as whoever ends a job does
            turn = None if caps is None else topic_slots.ask(tx, walk.run, before, caps, now)
            if isinstance(turn, AnotherAttempt):
                return turn
            if hosts and (until := breaker.open_until(tx, hosts, now)) is not None:
                topic_slots.step_aside(tx, walk.run.id, job.step, now)
                reason = f"{', '.join(hosts)} is down: nothing is asked of it now"
                return AnotherAttempt(until, Outcome.WAITING, reason)
            if turn is not None:
                turn.take()
            tx.add_attempt(attempt)
            tx.save_job(before, job, detail={"attempt": job.attempt})
            hold_walk(engine, tx, walk)
            return None

    later = steadily(write, engine.lease)
    if caps is not None:
        topic_slots.call(engine, walk.run.tenant_id, planned.type, caps)
    if later is not None:
        return later
    walk.claims[job.step] += 1  # first: who sees more attempts than these lends once more
    walk.jobs[job.step] = job
    return Begun(planned, job, attempt, hosts=hosts, secrets=walk.secrets)


def _opened(engine: Engine, walk: Walk, job: Job, now: datetime) -> Attempt:
    return Attempt(
        key=attempt_key(walk.run.id, job.step, job.attempt),
        tenant_id=walk.run.tenant_id,
        run_id=walk.run.id,
        step=job.step,
        number=job.attempt,
        fencing_token=job.fencing_token,
        started_at=now,
        worker=engine.worker,
        environment=engine.environment,
        span_id=new_span_id(),
    )


def _hosts_of(engine: Engine, planned: PlannedJob) -> tuple[str, ...]:
    """The outside hosts that the job needs; of a type that is not installed, none."""
    if planned.type not in engine.job_types:
        return ()
    return engine.job_types[planned.type].facts.hosts


def _skip(engine: Engine, walk: Walk, name: str, reason: SkipReason) -> Ending:
    before = walk.jobs[name]
    skipped = before.move_to(JobStatus.SKIPPED, engine.clock.now(), skip_reason=reason)
    ending = Ending(JobStatus.SKIPPED, reason)
    detail = {"reason": reason.value}
    end_job(engine, walk, before, skipped, ending, detail, lambda tx: hold_walk(engine, tx, walk))
    return ending


def _holds(walk: Walk, planned: PlannedJob) -> bool:
    return bool(evaluate(planned.when, job_scope(walk, planned)))


def _refuse_bad_with(planned: PlannedJob, facts: JobTypeFacts, with_: Mapping[str, Any]) -> None:
    """Check what compiling could not: the values that expressions gave."""
    place = f"{planned.name}.with"
    if wrong := check_with(facts, with_):
        raise InvalidInputsError(
            f"what job {planned.name} was given is not what it takes",
            [Problem(place, 0, 0, "schema", message) for message in wrong],
        )
