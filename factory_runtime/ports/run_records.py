"""Runs, their jobs and attempts, and what happened to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.job import Job
from factory_runtime.domain.records import Checkpoint, RunEvent
from factory_runtime.domain.run import Run, RunStatus

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list. Newest request first.

    Attributes:
        since, until: when it was requested; ``until`` itself is no longer in.
        ended_since, ended_until: likewise, when it ended.
        error: a part of what the run or one of its jobs failed of, in any case.
        not_since_succeeded: no run of the same project, template and inputs has Succeeded after it.
        projects: one of them; None is any.
        outside_id: a build's, repository's, pipeline's, work item's or webhook delivery's.
        text: words that its template, project, module, requester or inputs say, in any case; all
            of them.
        can_be_retried: it Failed, was not refused, nobody undoes it, and nobody has discarded all
            of its dead letters.
    """

    project_id: str | None = None
    template_id: str | None = None
    statuses: tuple[RunStatus, ...] = ()
    requested_by: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ended_since: datetime | None = None
    ended_until: datetime | None = None
    error: str | None = None
    not_since_succeeded: bool = False
    can_be_retried: bool = False
    projects: tuple[str, ...] | None = None
    module_id: str | None = None
    trace_id: str | None = None
    correlation_id: str | None = None
    outside_id: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; ``cursor`` asks for the next part and is None at the end."""

    items: tuple[T, ...]
    cursor: str | None = None


class RunRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    # runs and jobs
    def add_run(
        self,
        run: Run,
        jobs: Sequence[Job] = (),
        *,
        requested: Run | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert a run with its jobs, and an event for its first status.

        One that has moved since it was ``requested`` gets another for that, with the detail.

        Raises:
            IllegalTransitionError: the status table does not allow the move.
        """
        ...

    def get_run(self, run_id: str) -> Run: ...

    def lock_run(self, run_id: str) -> Run:
        """The run, with its row locked until the end of the transaction."""
        ...

    def save_run(self, before: Run, after: Run, *, detail: Mapping[str, Any] | None = None) -> None:
        """Compare-and-set on ``before.version``; a changed status appends an event.

        Raises:
            StaleVersionError: the row changed since ``before`` was read.
            IllegalTransitionError: the status table does not allow the move.
        """
        ...

    def list_runs(
        self, where: RunFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Run]: ...

    def count_runs(self, where: RunFilter) -> int: ...

    def find_run_by_flow_run(self, flow_run_id: str) -> Run | None: ...

    def add_jobs(self, jobs: Sequence[Job]) -> None:
        """Insert Pending jobs of runs that stand already: their plan was changed."""
        ...

    def get_job(self, run_id: str, step: str) -> Job: ...

    def list_jobs(self, run_id: str) -> tuple[Job, ...]:
        """All jobs of a run in plan order."""
        ...

    def save_job(self, before: Job, after: Job, *, detail: Mapping[str, Any] | None = None) -> None:
        """Compare-and-set on ``before.version`` and ``before.fencing_token``; as ``save_run``."""
        ...

    # attempts
    def add_attempt(self, attempt: Attempt) -> None:
        """Insert; the very same attempt once more is a no-op.

        Raises:
            DuplicateAttemptError: its key stands for another one.
        """
        ...

    def save_attempt(self, attempt: Attempt) -> None:
        """Update by key. Repeating it changes nothing."""
        ...

    def list_attempts(self, run_id: str, step: str | None = None) -> tuple[Attempt, ...]: ...

    # leases and checkpoints: what an attempt writes beside its end, each fenced by its token
    def hold_job(self, job: Job) -> None:
        """Keep the job's claim as it is until the transaction ends.

        Raises:
            LeaseLostError: it is not Running under this job's fencing token any more.
        """
        ...

    def renew_leases(self, run_id: str, owner: str, expires_at: datetime) -> int:
        """Renew what this owner holds of a run's jobs; how many. Their versions stay."""
        ...

    def wake_job(self, run_id: str, step: str, at: datetime) -> bool:
        """Have a Waiting job go on at this time; False where it does not wait. Its version stays.

        So whoever walks the run can claim the job all the same, and needs not be told of it first.
        """
        ...

    def note_progress(self, job: Job, progress: float | None, phrase: str | None) -> None:
        """Write down how far a job is; its version stays.

        Raises:
            LeaseLostError: as ``hold_job``.
        """
        ...

    def save_checkpoint(self, job: Job, checkpoint: Checkpoint) -> None:
        """Replace the job's checkpoint.

        Raises:
            LeaseLostError: as ``hold_job``.
        """
        ...

    def find_checkpoint(self, run_id: str, step: str) -> Checkpoint | None: ...

    # events
    def add_event(self, event: RunEvent) -> None: ...

    def list_events(
        self, run_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[RunEvent, ...]:
        """Events of a run with a sequence greater than ``after``, in order."""
        ...

    def find_last_event(self, run_id: str, *, besides: Collection[str] = ()) -> RunEvent | None:
        """The latest, of those that are of none of these kinds."""
        ...
