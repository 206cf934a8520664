"""A DeadLetter: a job out of attempts, kept for people; and orders to send some round again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import IllegalTransitionError
from factory_runtime.domain.ids import digest_of


class LetterStatus(StrEnum):
    """What became of a dead letter.

    ``CARRIED``: its run Succeeded without the job, by ``continue`` or a fallback, or goes on with a
    plan that has no such job, so there is nothing to redrive. ``RESOLVED``: the job succeeded after
    a redrive.
    """

    OPEN = "open"
    REDRIVEN = "redriven"
    RESOLVED = "resolved"
    DISCARDED = "discarded"
    CARRIED = "carried"


_S = LetterStatus
LETTER_MOVES: Mapping[LetterStatus, frozenset[LetterStatus]] = {
    _S.OPEN: frozenset({_S.REDRIVEN, _S.DISCARDED, _S.CARRIED}),
    _S.REDRIVEN: frozenset({_S.OPEN, _S.RESOLVED, _S.DISCARDED}),
    _S.DISCARDED: frozenset({_S.REDRIVEN}),
    _S.RESOLVED: frozenset(),
    _S.CARRIED: frozenset(),
}

MAY_GO_ROUND = frozenset(status for status in LetterStatus if _S.REDRIVEN in LETTER_MOVES[status])


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that failed for good. A job has one, written over when it fails again.

    Attributes:
        cycle: the run's, when the job failed.
        fingerprint: 64 hex digits: the same for failures of one kind.
        with_: what its type was told, expressions evaluated; None where they could not be.
        attempts: how many it has had in all.
        checkpoint: the number of the newest one it would go on from.
        first_failed_at: its first failure; ``failed_at`` is the last.
        redrives: how often it was sent round again.
        order_id: the redrive order that sent it round last.
        closed_by, reason: who discarded it, and why.
    """

    id: str
    tenant_id: str
    run_id: str
    step: str
    project_id: str
    template_id: str
    template_version: str
    job_type: str
    fingerprint: str
    error_code: str
    error: str
    attempts: int
    trace_id: str
    first_failed_at: datetime
    failed_at: datetime
    status: LetterStatus = LetterStatus.OPEN
    version: int = 1
    cycle: int = 0
    redrives: int = 0
    with_: Body | None = None
    traceback: Body | None = None
    checkpoint: int | None = None
    order_id: str | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    reason: str | None = None

    def move_to(self, status: LetterStatus, **changes: Any) -> DeadLetter:
        """The letter in its next status, one version on.

        Raises:
            IllegalTransitionError: ``LETTER_MOVES`` does not allow it.
        """
        if status not in LETTER_MOVES[self.status]:
            raise IllegalTransitionError(f"dead letter {self.id}", self.status, status)
        return replace(self, status=status, version=self.version + 1, **changes)


@dataclass(frozen=True, slots=True)
class FailureKind:
    """A kind of failure that a tenant has seen: written once, when it is new.

    Attributes:
        message: the error without what differs from one failure of the kind to the next.
    """

    tenant_id: str
    fingerprint: str
    job_type: str
    error_code: str
    message: str
    first_seen: datetime


@dataclass(frozen=True, slots=True)
class LetterCount:
    """A tenant's open dead letters of one kind, counted; the store keeps it with each letter.

    Attributes:
        runs: how many runs they hold up.
        first_failed_at, last_failed_at: of all that there ever were.
    """

    tenant_id: str
    fingerprint: str
    letters: int
    runs: int
    first_failed_at: datetime
    last_failed_at: datetime


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Open dead letters of one fingerprint.

    Attributes:
        letters: how many.
        runs: how many runs they hold up.
        first_seen, last_seen: the first failure of the kind that there ever was, and the last.
        tenants: whose they are, in order; at most ten are named, ``tenant_count`` has all.
    """

    fingerprint: str
    job_type: str
    error_code: str
    message: str
    letters: int
    runs: int
    tenants: tuple[str, ...]
    tenant_count: int
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters to list. Newest failure first.

    Attributes:
        until: only those that failed before it.
        projects: one of them; None is any.
        can_go_round: only those whose run Failed and is not being undone.
    """

    statuses: tuple[LetterStatus, ...] = (LetterStatus.OPEN,)
    fingerprint: str | None = None
    run_id: str | None = None
    step: str | None = None
    job_type: str | None = None
    template_id: str | None = None
    project_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    can_go_round: bool = False
    projects: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be otherwise when a run goes round again. All None: nothing.

    Attributes:
        inputs: replaces these inputs, the others stay; a value of None takes one away.
        timeout_seconds: of the jobs that go round again.
        template_version: go on with this version of the template.
    """

    inputs: Mapping[str, Any] | None = None
    timeout_seconds: float | None = None
    template_version: str | None = None

    @property
    def is_empty(self) -> bool:
        return self == Change()

    @property
    def compiles_anew(self) -> bool:
        """Whether the plan may become another one than in its timeouts."""
        return self.inputs is not None or self.template_version is not None

    def told(self) -> dict[str, Any]:
        """What the audit keeps: names and a digest; never values, which may be secrets."""
        if self.is_empty:
            return {}
        facts: dict[str, Any] = {
            "inputs": sorted(self.inputs or {}),
            "timeout_seconds": self.timeout_seconds,
            "template_version": self.template_version,
            "change": digest_of(
                [self.inputs and dict(self.inputs), self.timeout_seconds, self.template_version]
            ),
        }
        return {name: value for name, value in facts.items() if value}


class OrderStatus(StrEnum):
    """Where a redrive order is."""

    CANARY = "canary"
    RELEASING = "releasing"
    DONE = "done"
    STOPPED = "stopped"


ORDER_ENDED = frozenset({OrderStatus.DONE, OrderStatus.STOPPED})


@dataclass(frozen=True, slots=True)
class RedriveOrder:
    """Dead letters that are chosen to be sent round again, the first one alone where it is asked.

    Nothing waits for it in a process: each end of a redriven job, and the outbox, take it further.

    Attributes:
        total: letters that could go round when it was ordered.
        fingerprint, job_type, template_id, project_id, since, until: which letters are meant: as
            ``LetterFilter`` has them. ``until`` is behind all that were open when it was ordered.
        canary_id: the letter that goes first; None where all go at once.
        redriven, refused: how many so far.
        error: why it was stopped, or what the last refusal said.
        change: the ``Change`` that they go round with; None where they go as they are.
    """

    id: str
    tenant_id: str
    status: OrderStatus
    requested_by: str
    requested_at: datetime
    total: int
    version: int = 1
    fingerprint: str | None = None
    job_type: str | None = None
    template_id: str | None = None
    project_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    canary_id: str | None = None
    redriven: int = 0
    refused: int = 0
    error: str | None = None
    change: Body | None = None
    finished_at: datetime | None = None

    @property
    def where(self) -> LetterFilter:
        """The open letters that are meant."""
        return LetterFilter(
            fingerprint=self.fingerprint,
            job_type=self.job_type,
            template_id=self.template_id,
            project_id=self.project_id,
            since=self.since,
            until=self.until,
            can_go_round=True,
        )

    def changed(self, **changes: Any) -> RedriveOrder:
        """The order with other values, one version on."""
        return replace(self, version=self.version + 1, **changes)
