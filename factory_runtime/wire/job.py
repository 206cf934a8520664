"""Jobs and their attempts, as they are told of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.records import Checkpoint
from factory_runtime.domain.run import Priority
from factory_runtime.wire.base import Answer


class AttemptAnswer(Answer):
    """One try of a job."""

    attempt_key: str
    number: int
    fencing_token: int = 0
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


class CheckpointAnswer(Answer):
    """How far a job has come: what its next attempt goes on from."""

    number: int
    attempt: int
    job_type: str
    job_type_version: str
    saved_at: datetime
    with_digest: str | None = None
    state: Any = Field(default=None, description="JSON of the job type's own")

    @classmethod
    def of(cls, one: Checkpoint, state: Any) -> CheckpointAnswer:
        """What its record says, with the state that it refers to."""
        names = set(cls.model_fields) - {"state"}
        return cls(**{name: getattr(one, name) for name in names}, state=state)


class JobMore(Answer):
    """What is told of one job that is asked for by its step."""

    outputs: Any = None
    checkpoint: CheckpointAnswer | None = None
    traceback: str | None = Field(default=None, description="of its last attempt that failed")


class JobAnswer(Answer):
    """One step within a run."""

    job_id: str
    run_id: str
    step: str
    position: int = Field(default=0, description="in the plan's order")
    type: str
    status: JobStatus
    needs: tuple[str, ...]
    priority: Priority
    version: int = 1
    attempt: int
    max_attempts: int
    failures: int = Field(default=0, description="attempts that count against `maxAttempts`")
    losses: int = Field(default=0, description="attempts whose worker was lost")
    lease_owner: str | None = None
    lease_expires_at: datetime | None = None
    fencing_token: int = 0
    last_attempt_at: datetime | None = None
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
    routed_flow_run_id: str | None = None
    span_id: str | None = None
    build_id: str | None = None
    repo_id: str | None = None
    pipeline_id: str | None = None
    work_item_id: str | None = None
    attempts: tuple[AttemptAnswer, ...] = ()
    more: JobMore | None = Field(default=None, description="where `step` asks for this one")

    @classmethod
    def of(
        cls, job: Job, attempts: tuple[Attempt, ...] = (), more: JobMore | None = None
    ) -> JobAnswer:
        """What a job's record and those of its attempts say."""
        names = set(cls.model_fields) - {"job_id", "attempts", "more"}
        facts = {name: getattr(job, name) for name in names}
        told = tuple(map(AttemptAnswer.of, attempts))
        return cls(job_id=job.id, attempts=told, more=more, **facts)
