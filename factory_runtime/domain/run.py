"""A Run: one execution of a Plan, and the table of its moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import IllegalTransitionError


class RunStatus(StrEnum):
    """Where a run is in its life."""

    REQUESTED = "Requested"
    VALIDATED = "Validated"
    QUEUED = "Queued"
    RUNNING = "Running"
    WAITING = "Waiting"
    PAUSED = "Paused"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


_S = RunStatus
RUN_MOVES: Mapping[RunStatus, frozenset[RunStatus]] = {
    _S.REQUESTED: frozenset({_S.VALIDATED, _S.FAILED}),
    _S.VALIDATED: frozenset({_S.QUEUED, _S.FAILED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.FAILED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.WAITING, _S.PAUSED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED}),
    _S.WAITING: frozenset({_S.RUNNING, _S.PAUSED, _S.FAILED, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.QUEUED}),
    _S.SUCCEEDED: frozenset(),
    _S.CANCELLED: frozenset(),
}
RUN_ENDED = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED})
RUN_WITHOUT_SLOT = RUN_ENDED | {_S.WAITING, _S.PAUSED}
"""Entering one of these gives the run's slot back."""


PLAN_CHANGED_BY = "plan_changed_by"
"""Key of a run's metadata: names of people."""


PREFECT = "prefect"
"""Requester of a run that began in Prefect, by its form or a schedule: nobody knows who it was."""


class Priority(StrEnum):
    """Which queue a run or job stands in."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """A number that sorts: the lower goes first."""
        return list(Priority).index(self)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What somebody asks for. Inputs are as given: not validated, no defaults filled in.

    Attributes:
        deadline: the most the run may take from now; None takes the template's.
        idempotency_key: of the project: same key and body gives the same run; same key, other body is
            a conflict.
        flow_run_id: set where the run began in Prefect and adopts that flow run.
        delivery_id: set where a webhook's delivery began it.
        drawn_from: ids of memories that whoever asks has made use of.
    """

    tenant_id: str
    project_id: str
    template: str
    inputs: Mapping[str, Any]
    requested_by: str
    version: str | None = None
    module_id: str | None = None
    priority: Priority = Priority.NORMAL
    deadline: timedelta | None = None
    idempotency_key: str | None = None
    trace_id: str | None = None
    correlation_id: str | None = None
    flow_run_id: str | None = None
    delivery_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    drawn_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a Plan, as recorded.

    Attributes:
        version: grows by one with every change; a write names the version it read.
        cycle: 0, and one more each time an operator sends a failed run round again.
        plan: the compiled Plan it began with; None where the request was refused.
        admitted_at: when the dispatcher gave it one of the slots for running runs; None while it
            has none: it waits for one, for something outside or for a person, or has ended.
        wake_at: a Waiting run wants a slot again at this time.
        deadline_at: the system cancels it then; no sooner than people have answered.
        people_asked_at: since when people have been asked; None while nobody is.
        cancel_requested_at: when somebody asked for it to stop; the executor obeys.
        pause_requested_at: likewise for a pause; it goes on only when somebody resumes it.
        error: one message for people, where it Failed or was Cancelled.
        undoes: the run whose effects this one undoes; None for every other.
        undo_requested_by: who wants its effects undone once it has ended without success.
        inputs_digest: SHA-256 of the inputs with defaults: the same request gives the same.
        delivery_id: the webhook's delivery that it began with; None for every other.
        git_host: where its repositories are: ``local``, or ``block:`` and a name. Its tenant's when
            it first ran, and its own from then on; None before, and of runs that had none.
    """

    id: str
    tenant_id: str
    project_id: str
    template_id: str
    template_version: str
    template_digest: str
    status: RunStatus
    inputs: Body
    requested_by: str
    requested_at: datetime
    updated_at: datetime
    trace_id: str
    correlation_id: str
    version: int = 1
    cycle: int = 0
    module_id: str | None = None
    priority: Priority = Priority.NORMAL
    plan: Body | None = None
    outputs: Body | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline_at: datetime | None = None
    admitted_at: datetime | None = None
    wake_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    pause_requested_at: datetime | None = None
    flow_run_id: str | None = None
    error: str | None = None
    build_id: str | None = None
    repo_id: str | None = None
    pipeline_id: str | None = None
    work_item_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    undoes: str | None = None
    undo_requested_by: str | None = None
    inputs_digest: str | None = None
    people_asked_at: datetime | None = None
    delivery_id: str | None = None
    git_host: str | None = None

    def move_to(self, status: RunStatus, at: datetime, **changes: Any) -> Run:
        """The run in its next status, one version on.

        Raises:
            IllegalTransitionError: ``RUN_MOVES`` does not allow it.
        """
        if status not in RUN_MOVES[self.status]:
            raise IllegalTransitionError(f"run {self.id}", self.status, status)
        if status is RunStatus.RUNNING and self.started_at is None:
            changes.setdefault("started_at", at)
        if status in RUN_ENDED:
            changes.setdefault("completed_at", at)
        if status in RUN_WITHOUT_SLOT:
            changes.setdefault("admitted_at", None)
        return self.changed(at, status=status, **changes)

    def changed(self, at: datetime, **changes: Any) -> Run:
        """The run with other values, one version on."""
        return replace(self, version=self.version + 1, updated_at=at, **changes)

    @property
    def ended(self) -> bool:
        return self.status in RUN_ENDED

    def is_late(self, now: datetime) -> bool:
        """Whether it is past its deadline, which stands still while people are asked."""
        if self.deadline_at is None or self.people_asked_at is not None:
            return False
        return self.deadline_at <= now

    def deadline_after_asking(self, now: datetime) -> datetime | None:
        """The deadline once nobody is asked any more: the time it took people does not count."""
        if self.deadline_at is None or self.people_asked_at is None:
            return self.deadline_at
        try:
            return self.deadline_at + (now - self.people_asked_at)
        except OverflowError:
            return self.deadline_at  # at the end of the calendar

    @property
    def plan_changed_by(self) -> tuple[str, ...]:
        """Who changed its plan since it was requested, and so may not approve it either."""
        names = self.metadata.get(PLAN_CHANGED_BY)
        return tuple(map(str, cast("list[Any]", names))) if isinstance(names, list) else ()
