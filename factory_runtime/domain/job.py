"""A Job: one step within a run, and the table of its moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import IllegalTransitionError
from factory_runtime.domain.run import Priority


class JobStatus(StrEnum):
    """Where a job is in its life."""

    PENDING = "Pending"
    RUNNING = "Running"
    WAITING = "Waiting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"


class SkipReason(StrEnum):
    """Why a job was not run. Only a failed need carries on to the jobs behind it.

    ``NOT_PLANNED``: the run's plan was changed, and has no such job any more, or what it said of
    the job counts no more. One that is planned again is Pending again.
    """

    CONDITION = "condition"
    NEED_FAILED = "need-failed"
    FALLBACK_NOT_NEEDED = "fallback-not-needed"
    NOT_PLANNED = "not-planned"


_S = JobStatus
JOB_MOVES: Mapping[JobStatus, frozenset[JobStatus]] = {
    # Waiting at once: it is sent to another machine before anybody has claimed it.
    _S.PENDING: frozenset({_S.RUNNING, _S.WAITING, _S.SKIPPED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.WAITING, _S.PENDING}),
    # Skipped: one that was only sent, and is not to begin any more.
    _S.WAITING: frozenset({_S.RUNNING, _S.SUCCEEDED, _S.FAILED, _S.SKIPPED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.PENDING}),
    _S.SKIPPED: frozenset({_S.PENDING}),
    _S.SUCCEEDED: frozenset(),
    _S.CANCELLED: frozenset(),
}
_LEFT_AGAIN = frozenset({SkipReason.NEED_FAILED, SkipReason.NOT_PLANNED})
JOB_ENDED = frozenset({_S.SUCCEEDED, _S.FAILED, _S.SKIPPED, _S.CANCELLED})


@dataclass(frozen=True, slots=True)
class Job:
    """One step within a run, as recorded.

    Attributes:
        step: its name in the plan; ``apply-domain[order]`` for one item of an ``each``.
        needs: names of the jobs it waits for.
        attempt: the number of the last attempt opened, 0 before the first; it never starts again.
        failures: attempts that count against ``max_attempts``, since the run's cycle began.
        losses: attempts whose worker was lost, since the run's cycle began.
        not_before: the next attempt must not start earlier; for a Waiting job, when it wakes up.
        lease_owner: the walk that claimed it; it renews ``lease_expires_at`` while it lives.
        progress: what its type says of how far it is, 0 to 1, with a phrase for people.
        fencing_token: grows by one with every claim; a write names the token it claimed with.
        cached: whether its render came from the cache; None where it renders nothing.
        degraded: in what way it is less than was asked for, though it Succeeded.
        routed_to: the ``pool/queue`` of Prefect's that it was sent to, while it waits for a worker
            there or is at work in one; the walk of its run leaves it alone meanwhile.
        routed_flow_run_id: the flow run that may claim it there; None until that is made.
    """

    id: str
    tenant_id: str
    run_id: str
    step: str
    position: int
    type: str
    status: JobStatus
    needs: tuple[str, ...]
    max_attempts: int
    updated_at: datetime
    version: int = 1
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    priority: Priority = Priority.NORMAL
    not_before: datetime | None = None
    lease_owner: str | None = None
    lease_expires_at: datetime | None = None
    fencing_token: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    last_attempt_at: datetime | None = None
    progress: float | None = None
    phrase: str | None = None
    cached: bool | None = None
    skip_reason: SkipReason | None = None
    error: str | None = None
    outputs: Body | None = None
    span_id: str | None = None
    build_id: str | None = None
    repo_id: str | None = None
    pipeline_id: str | None = None
    work_item_id: str | None = None
    degraded: str | None = None
    routed_to: str | None = None
    routed_flow_run_id: str | None = None

    def move_to(self, status: JobStatus, at: datetime, **changes: Any) -> Job:
        """The job in its next status, one version on.

        Raises:
            IllegalTransitionError: ``JOB_MOVES`` does not allow it.
        """
        leaves_a_good_skip = (
            self.status is JobStatus.SKIPPED and self.skip_reason not in _LEFT_AGAIN
        )
        if status not in JOB_MOVES[self.status] or leaves_a_good_skip:
            raise IllegalTransitionError(f"job {self.step} of {self.run_id}", self.status, status)
        if status is JobStatus.RUNNING and self.started_at is None:
            changes.setdefault("started_at", at)
        if status in JOB_ENDED:
            changes.setdefault("completed_at", at)
        if status is not JobStatus.RUNNING:  # whoever had it elsewhere has it no more
            changes = {"routed_to": None, "routed_flow_run_id": None, **changes}
        return self.changed(at, status=status, **changes)

    def changed(self, at: datetime, **changes: Any) -> Job:
        """The job with other values, one version on."""
        return replace(self, version=self.version + 1, updated_at=at, **changes)

    @property
    def ended(self) -> bool:
        return self.status in JOB_ENDED

    @property
    def is_under_way(self) -> bool:
        """Whether it was begun and is not through: it may have done something outside.

        One that was sent elsewhere, and that nobody has claimed, was not.
        """
        goes_on = self.status in (JobStatus.RUNNING, JobStatus.WAITING)
        return self.attempt > 0 and (goes_on or self.failures > 0 or self.losses > 0)
