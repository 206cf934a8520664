"""The smaller records: effects, checkpoints, events, outbox messages, templates, requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from factory_runtime.domain.body import Body
from factory_runtime.domain.ids import canonical_json
from factory_runtime.domain.run import Priority


class EffectStatus(StrEnum):
    """An outside effect is written down before it is done and again after.

    ``UNDONE``: it is gone. ``ORPHANED``: nobody wants it any more and it was not taken away; a
    person has to look.
    """

    INTENDED = "intended"
    CONFIRMED = "confirmed"
    UNDONE = "undone"
    ORPHANED = "orphaned"


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of the effect ledger.

    ``(effect_key, kind)`` is unique: a job may make a repository and a commit in it.

    Attributes:
        target: what it touches, for people: ``repository demo/orders``.
        facts: what a probe needs to find it again, like its project and repository.
        reference: what came of it, like a commit id; None until confirmed.
        link: where a person finds it.
        reason: why it is orphaned, or how it was undone.
        settled_at: when it became undone or orphaned.
        undone_by: the run that undid it, or left it.
    """

    effect_key: str
    kind: str
    tenant_id: str
    run_id: str
    step: str
    target: str
    intended_at: datetime
    status: EffectStatus = EffectStatus.INTENDED
    reference: str | None = None
    confirmed_at: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    link: str | None = None
    reason: str | None = None
    settled_at: datetime | None = None
    undone_by: str | None = None

    def is_at_place_of(self, other: Effect) -> bool:
        """Whether both touch the same thing, as far as both say what it is."""
        common = self.facts.keys() & other.facts.keys()
        return self.target == other.target and all(
            canonical_json(self.facts[name]) == canonical_json(other.facts[name]) for name in common
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a job has come: what its next attempt goes on from. A job has one, the newest.

    Attributes:
        number: 1 for a job's first, then one more with each.
        job_type_version: of the code that wrote it; another version may not understand it.
        state: JSON of the job type's own.
        with_digest: of what the job was given; None where an older release wrote it.
    """

    tenant_id: str
    run_id: str
    step: str
    number: int
    attempt: int
    job_type: str
    job_type_version: str
    saved_at: datetime
    state: Body
    with_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether an outside host is asked at all, for one tenant.

    Attributes:
        host: its name, like ``local`` or ``azure-devops``.
        failures: in a row; an answer sets it back to 0.
        open_until: nothing is asked of it before; then one job tries.
    """

    tenant_id: str
    host: str
    failures: int
    changed_at: datetime
    open_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One line of a run's history.

    Attributes:
        sequence: given by the store, grows; a reader asks for what came after the last it saw.
        step: the job that moved, or None where the run itself did.
        detail: facts of ours: reason, attempt, cached, duration in seconds.
    """

    tenant_id: str
    run_id: str
    at: datetime
    kind: str
    step: str | None = None
    from_status: str | None = None
    to_status: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """Something to be done after a commit, at least once.

    Attributes:
        topic: who handles it, like ``run.finished`` or ``template.registered``.
        key: the same message added twice is one: ``(topic, key)`` is unique for a tenant.
        attempts: how often it was tried.
        not_before: the next try must not be earlier.
    """

    id: str
    tenant_id: str
    topic: str
    key: str
    payload: Mapping[str, Any]
    created_at: datetime
    not_before: datetime
    attempts: int = 0
    done_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """A published template version; immutable.

    Attributes:
        digest: SHA-256 over every file of the template, as 64 hex digits.
    """

    tenant_id: str
    template_id: str
    version: str
    digest: str
    title: str
    description: str
    published_at: datetime
    inputs_schema: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request's idempotency key and what it gave."""

    tenant_id: str
    idempotency_key: str
    body_digest: str
    run_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Lock:
    """A named, time-limited claim that works across processes and machines."""

    tenant_id: str
    name: str
    holder: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to the factory's work: never changed, never removed.

    Attributes:
        actor: the operating system's user, or ``system``.
        action: like ``dead-letter.redrive`` or ``approval.grant``.
        subject: what it was done to, by id.
        detail: facts of ours and what the person gave as a reason.
        origin: where it was asked for: an address, or ``cli``; None where nobody stood behind it.
        key_id: the API key's that was shown.
        trace_id: of the request.
    """

    tenant_id: str
    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    origin: str | None = None
    key_id: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class TopicWait:
    """A job that waits until fewer jobs of its type run; looked at as long as it is fresh.

    Attributes:
        topic: name of the job type.
        since: when it was refused first.
        seen_at: when it was refused last: one that is not seen any more waits no longer.
        back_at: where its run was put down meanwhile: when it looks again by itself, or was called.
    """

    tenant_id: str
    run_id: str
    step: str
    topic: str
    priority: Priority
    since: datetime
    seen_at: datetime
    back_at: datetime | None = None

    @property
    def last_sign(self) -> datetime:
        """When it is to be seen last, as far as is known."""
        return max(self.seen_at, self.back_at or self.seen_at)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A run that could not be started, or that another process begins: others are tried before it.

    Attributes:
        times: how often in a row it could not be started.
        until: it is not tried before.
        reason: why, for people.
    """

    tenant_id: str
    run_id: str
    times: int
    until: datetime
    reason: str
