"""Jobs and their attempts, as they are told of."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.run import Priority
from factory_runtime.wire.base import Answer


class AttemptAnswer(Answer):
    """One try of a job."""

    attempt_key: str
    number: int
    started_at: datetime
    completed_at: datetime | None = None
    outcome: Outcome | None = None
    cached: bool | None = None
    error: str | None = None
    error_code: str | None = None
    worker: str
    environment: str
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    task_run_id: str | None = None
    span_id: str | None = None

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptAnswer:
        """What an attempt's record says."""
        names = set(cls.model_fields) - {"attempt_key"}
        facts = {name: getattr(attempt, name) for name in names}
        return cls(attempt_key=attempt.key, **facts)


class JobAnswer(Answer):
    """One step within a run."""

    job_id: str
    run_id: str
    step: str
    type: str
    status: JobStatus
    needs: tuple[str, ...]
    priority: Priority
    attempt: int
    max_attempts: int
    started_at: datetime | None = None
    completed_at: datetime | None = None
    updated_at: datetime
    not_before: datetime | None = None
    progress: float | None = None
    phrase: str | None = None
    cached: bool | None = None
    skip_reason: SkipReason | None = None
    error: str | None = None
    degraded: str | None = None
    routed_to: str | None = None
    span_id: str | None = None
    build_id: str | None = None
    repo_id: str | None = None
    pipeline_id: str | None = None
    work_item_id: str | None = None
    attempts: tuple[AttemptAnswer, ...] = ()

    @classmethod
    def of(cls, job: Job, attempts: tuple[Attempt, ...] = ()) -> JobAnswer:
        """What a job's record and those of its attempts say."""
        names = set(cls.model_fields) - {"job_id", "attempts"}
        facts = {name: getattr(job, name) for name in names}
        return cls(job_id=job.id, attempts=tuple(map(AttemptAnswer.of, attempts)), **facts)
