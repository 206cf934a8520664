"""The spans of jobs and attempts, under the ids that their rows have: a job's below its request's.

Without tracing this does nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.run import Run
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.trace_request import about_run
from factory_runtime.telemetry.logs import Dimension
from factory_runtime.telemetry.trace_context import root_span_id
from factory_runtime.telemetry.tracing import SpanFacts, tell_span

_UNRECORDED = "unrecorded"
_FAILED = JobStatus.FAILED.value.lower()
_FAILURES = frozenset({_UNRECORDED, _FAILED, Outcome.TRANSIENT.value})


def about_attempt(run: Run, begun: Begun) -> dict[str, Dimension]:
    """What lines of the log say of who logs while an attempt is made."""
    job, number = begun.job, begun.attempt.number
    return {**about_run(run), "jobId": job.id, "step": job.step, "attempt": number}


def tell_attempt(
    run: Run, begun: Begun, at: datetime, ended: Ending | AnotherAttempt | None
) -> None:
    """Tell of one that is over, and of its job where that is over with it.

    Args:
        run: whose.
        begun: the attempt.
        at: when it was over.
        ended: what came of it; None where that could not be recorded.
    """
    if begun.attempt.span_id is None:
        return
    outcome = _outcome_of(ended)
    facts = SpanFacts(
        "attempt",
        run.trace_id,
        begun.attempt.span_id,
        begun.attempt.started_at,
        at,
        parent_id=begun.job.span_id,
        failed=outcome in _FAILURES,
        attributes={
            "run_id": run.id,
            "tenant_id": run.tenant_id,
            "step": begun.job.step,
            "job_type": begun.job.type,
            "attempt": begun.attempt.number,
            "outcome": outcome,
            "cached": begun.cached,
        },
    )
    tell_span(facts)
    if isinstance(ended, Ending):
        _tell_job(run, begun.job, at, ended)


def _tell_job(run: Run, job: Job, at: datetime, ended: Ending) -> None:
    if job.span_id is None or job.started_at is None:
        return
    facts = SpanFacts(
        "job",
        run.trace_id,
        job.span_id,
        job.started_at,
        at,
        parent_id=root_span_id(run.id),
        failed=ended.status is JobStatus.FAILED,
        attributes={
            "run_id": run.id,
            "tenant_id": run.tenant_id,
            "job_id": job.id,
            "step": job.step,
            "job_type": job.type,
            "attempts": job.attempt,
            "cycle": run.cycle,
            "status": ended.status.value,
        },
    )
    tell_span(facts)


def _outcome_of(ended: Ending | AnotherAttempt | None) -> str:
    match ended:
        case None:
            return _UNRECORDED
        case AnotherAttempt():
            return ended.outcome.value
        case Ending():
            return ended.status.value.lower()
        case _:
            assert_never(ended)
