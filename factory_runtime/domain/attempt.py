"""An Attempt: one try of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from factory_runtime.domain.body import Body


class Outcome(StrEnum):
    """How an attempt ended.

    Only a transient or permanent error counts against the job's budget. A lost one ended with its
    worker; a waiting one gave its process back until a due time; a suspended one stopped at a safe
    point because somebody asked, and goes on from there.
    """

    SUCCEEDED = "succeeded"
    TRANSIENT = "transient-error"
    PERMANENT = "permanent-error"
    CANCELLED = "cancelled"
    LOST = "lost"
    WAITING = "waiting"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a job, numbered from 1.

    Attributes:
        key: ``run:step:attempt``, unique in the store.
        outcome: None while it runs.
        worker: host and process that ran it, like ``build-7:4211``.
        environment: which profile and interpreter, like ``embedded python-3.11.7``.
        cpu_seconds: processor time of the worker thread and of the children it waited for.
        peak_memory_bytes: the most resident memory of a child it started, or None.
        traceback: what went wrong in full, for the operator.
    """

    key: str
    tenant_id: str
    run_id: str
    step: str
    number: int
    fencing_token: int
    started_at: datetime
    worker: str
    environment: str
    completed_at: datetime | None = None
    outcome: Outcome | None = None
    cached: bool | None = None
    error: str | None = None
    error_code: str | None = None
    traceback: Body | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    task_run_id: str | None = None
    span_id: str | None = None
