"""An Approval: a question to people that a job waits for, and their votes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from factory_runtime.domain.run import PREFECT

GROUP = "group:"
"""What a name begins with that is one of a group of the operating system."""


class ApprovalStatus(StrEnum):
    """What was decided. ``WITHDRAWN``: before anybody did, its run ended or was to be undone."""

    OPEN = "open"
    GRANTED = "granted"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Question:
    """What a job asks of people.

    Attributes:
        by: who may decide: names of users, or ``group:NAME``; empty is anybody but the requester.
        count: how many have to grant it, at least; one who denies it decides alone.
        expires: after this long it cannot be granted any more.
        escalate_after, escalate_to: then these may decide as well, and are told.
    """

    message: str
    by: tuple[str, ...] = ()
    count: int = 1
    expires: timedelta = timedelta(days=7)
    escalate_after: timedelta | None = None
    escalate_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Approval:
    """A question as recorded. ``(run, step, plan_digest, cycle)`` is unique.

    A changed plan asks again, and so does a later cycle of the run where it was not granted.

    Attributes:
        plan_digest: SHA-256 of the plan that is approved, 64 hex digits.
        cycle: the run's, when it was asked.
        requested_by: who requested the run, and may not decide.
        count: how many have to grant it: ``votes_wanted``.
    """

    id: str
    tenant_id: str
    run_id: str
    step: str
    project_id: str
    plan_digest: str
    requested_by: str
    message: str
    by: tuple[str, ...]
    count: int
    requested_at: datetime
    expires_at: datetime
    status: ApprovalStatus = ApprovalStatus.OPEN
    version: int = 1
    escalate_at: datetime | None = None
    escalate_to: tuple[str, ...] = ()
    escalated_at: datetime | None = None
    decided_at: datetime | None = None
    cycle: int = 0

    def deciders(self, now: datetime) -> tuple[str, ...]:
        """Who may decide by now: names and ``group:NAME``; empty is anybody but the requester."""
        return (*self.by, *self.escalate_to) if self.by and self.is_escalated(now) else self.by

    @property
    def requester_is_known(self) -> bool:
        """Whether it is known who may not decide; else one vote more is wanted."""
        return self.requested_by != PREFECT

    def is_escalated(self, now: datetime) -> bool:
        """Whether the time has come when others may decide as well."""
        return self.escalate_at is not None and self.escalate_at <= now

    def may_decide(self, person: str, groups: Collection[str], now: datetime) -> bool:
        """Whether this person may decide: never who requested the run."""
        if person == self.requested_by or person.startswith(GROUP):  # nobody is called that
            return False
        deciders = self.deciders(now)
        theirs = {person, *(f"{GROUP}{name}" for name in groups)}
        return not deciders or not theirs.isdisjoint(deciders)

    def changed(self, **changes: Any) -> Approval:
        """The approval with other values, one version on."""
        return replace(self, version=self.version + 1, **changes)


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person said; a person has one vote.

    Attributes:
        behind: who gave the API key that it was said with, and who gave theirs; in order.
    """

    tenant_id: str
    approval_id: str
    person: str
    granted: bool
    at: datetime
    comment: str = ""
    behind: tuple[str, ...] = ()


def time_asked(approvals: Iterable[Approval], since: datetime) -> timedelta:
    """For how long people were asked at all since then; the approvals are given oldest first."""
    total, until = timedelta(0), since
    for approval in approvals:
        if approval.decided_at is not None and approval.decided_at > until:
            total += approval.decided_at - max(approval.requested_at, until)
            until = approval.decided_at
    return total


def votes_wanted(count: int, requested_by: str) -> int:
    """How many have to grant it.

    One more where nobody knows who requested it: then one at least of them is another person.
    """
    return count + 1 if requested_by == PREFECT else count


def why_too_few(
    names: Collection[str], count: int, requested_by: str, changed_by: Collection[str] = ()
) -> str | None:
    """Why these cannot grant it, whatever they say; None where they can, or nobody can tell.

    Args:
        names: who may decide; empty is anybody, and a group may hold any number.
        count: how many have to grant it, as it was asked.
        requested_by: who requested the run, and may not decide.
        changed_by: who changed its plan, and may not either.
    """
    named, wanted = set(names), votes_wanted(count, requested_by)
    if not named or any(name.startswith(GROUP) for name in named):
        return None
    if len(named - {requested_by, *changed_by}) >= wanted:
        return None
    why = [f"only {_spell(named)} may approve this"]
    if requested_by in named:
        why.append(f"{requested_by} requested it")
    if changers := named.intersection(changed_by) - {requested_by}:
        why.append(f"{_spell(changers)} changed its plan")
    if wanted > count:
        why.append(f"{wanted} have to, as nobody knows who requested it")
    elif wanted > 1:
        why.append(f"{wanted} have to")
    return ", and ".join(why)


def _spell(names: Collection[str]) -> str:
    return " and ".join(sorted(names))


def spell_deciders(names: Iterable[str]) -> str:
    """``alice or group:ops``; ``anybody but who requested it`` where nobody is named."""
    return " or ".join(names) or "anybody but who requested it"
