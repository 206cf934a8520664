"""Webhooks: who may send events, and what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from factory_runtime.domain.body import Body


class SourceKind(StrEnum):
    """How a source's deliveries are shown to be its own; ``docs/webhooks.md`` has each."""

    GITHUB = "github"
    STANDARD = "standard"
    AZURE_DEVOPS = "azure-devops"
    CLOUDEVENTS = "cloudevents"
    HMAC = "hmac"


@dataclass(frozen=True, slots=True)
class SourceSecret:
    """One of a source's secrets, sealed.

    Attributes:
        until: it counts no more from then on; None is until it is rotated.
    """

    sealed: str
    since: datetime
    until: datetime | None = None

    def lives(self, now: datetime) -> bool:
        """Whether it counts now."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class WebhookSource:
    """Somebody who may send events to a tenant.

    Attributes:
        id: stands in the URL, and is unique over all tenants.
        name: a slug, unique in the tenant; templates name it or its kind.
        project_id: that runs which its events begin belong to.
        secrets: the newest first; any that lives verifies a delivery.
        options: of its kind; ``token`` is sealed.
        version: grows with every change.
    """

    tenant_id: str
    id: str
    name: str
    kind: SourceKind
    project_id: str
    secrets: tuple[SourceSecret, ...]
    created_at: datetime
    created_by: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    version: int = 1
    disabled_at: datetime | None = None

    def living_secrets(self, now: datetime) -> tuple[str, ...]:
        """Sealed ones that count now; none of a source that is disabled."""
        if self.disabled_at is not None:
            return ()
        return tuple(secret.sealed for secret in self.secrets if secret.lives(now))


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a git host tells a source of.

    Attributes:
        id: the host's.
        url: who is told.
    """

    id: str
    source_id: str
    project_id: str
    event: str
    repository: str | None
    url: str


class DeliveryStatus(StrEnum):
    """``RECEIVED``: it is not decided yet what it begins. ``FAILED``: nobody could find out."""

    RECEIVED = "received"
    MATCHED = "matched"
    UNMATCHED = "unmatched"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Begun:
    """What a delivery came to with one template that it matches.

    Attributes:
        run_id: None where the event could not be mapped to inputs.
        error: why the run was refused, or could not be asked for.
    """

    template_id: str
    run_id: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """What a source sent, once. Nothing is kept of what was not verified.

    Attributes:
        delivery_id: the sender's name for it.
        replay_key: SHA-256 of what its signature covers that tells it from others: the same again
            is the same delivery, whatever else it says.
        body_digest: SHA-256 of the body as sent.
        event: as expressions read it.
        begun: what it came to, once that is decided.
        asked_at: when it was to be looked at last: at first when it was received.
        error: why nobody could find out what it begins.
    """

    tenant_id: str
    id: str
    source_id: str
    delivery_id: str
    replay_key: str
    body_digest: str
    type: str
    received_at: datetime
    asked_at: datetime
    event: Body
    status: DeliveryStatus = DeliveryStatus.RECEIVED
    begun: tuple[Begun, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; the newest first."""

    source_id: str | None = None
    status: DeliveryStatus | None = None
    type: str | None = None


KEPT_FOR = timedelta(days=7)
"""How long a delivery is kept and visible; the runs that it began keep its id for good."""
