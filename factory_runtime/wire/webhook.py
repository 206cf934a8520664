"""Webhooks, as their sources are asked for and what they sent is told of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, StrictInt

from factory_runtime.domain.webhook import (
    Begun,
    DeliveryStatus,
    SourceKind,
    Subscription,
    WebhookDelivery,
    WebhookSource,
)
from factory_runtime.wire.base import Answer, Question
from factory_runtime.wire.paths import API_PREFIX
from factory_runtime.wire.run import Name, Slug

HeaderName = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Secret = Annotated[str, Field(min_length=16, max_length=500)]


class SourceOptions(Question):
    """What is particular to one source; ``docs/webhooks.md`` says which kind takes which."""

    header: HeaderName | None = Field(
        default=None, description="that holds the signature, or (azure-devops) the secret itself"
    )
    prefix: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="that stands before the signature, like `sha256=`"
    )
    encoding: Literal["hex", "base64"] | None = None
    signed: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="what is signed: text with {body}, {timestamp} and {id}"
    )
    id_header: HeaderName | None = None
    timestamp_header: HeaderName | None = Field(default=None, description="seconds since 1970")
    type_header: HeaderName | None = None
    tolerance_seconds: Annotated[StrictInt, Field(ge=1, le=3600)] | None = None
    auth: Literal["bearer", "hmac"] | None = Field(default=None, description="of cloudevents")
    user: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="of basic authentication; null takes any"
    )
    base_url: Annotated[str, Field(max_length=500)] | None = Field(
        default=None, description="of the organisation that resources are fetched from"
    )
    token: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="a personal access token that may read them; kept sealed"
    )


_NEW: dict[str, JsonValue] = {"name": "shop-github", "kind": "github", "projectId": "shop"}


class NewSource(Question):
    """Somebody who is to send events."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NEW]})

    name: Slug = Field(description="what templates call it in `triggers.webhook.source`")
    kind: SourceKind
    project_id: Slug | None = Field(default=None, description="null takes the server's default")
    secret: Secret | None = Field(default=None, description="null has one made")
    options: SourceOptions = SourceOptions()


class Rotation(Question):
    """Another secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlapSeconds": 86400}]})

    secret: Secret | None = Field(default=None, description="null has one made")
    overlap_seconds: Annotated[StrictInt, Field(ge=0, le=30 * 86400)] = Field(
        default=86400, description="how long those before it count beside it"
    )


_TOLD: dict[str, JsonValue] = {"event": "build.complete", "url": "https://factory.example.com"}


class NewSubscription(Question):
    """What a tenant's git host is to tell a source of."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TOLD]})

    event: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z][A-Za-z0-9._-]*$")] = Field(
        description="as the host names it"
    )
    url: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="of this API, as the host reaches it; null is FACTORY_PUBLIC_URL"
    )
    project_id: Slug | None = Field(default=None, description="null is the source's")
    repository: Name | None = Field(default=None, description="null is all of the project")


class SubscriptionAnswer(Answer):
    """What a tenant's git host tells a source of."""

    subscription_id: str = Field(description="the host's")
    source_id: str
    project_id: str
    event: str
    repository: str | None = None
    url: str = Field(description="where events are sent to")

    @classmethod
    def of(cls, made: Subscription) -> SubscriptionAnswer:
        """As the host has it."""
        same = set(cls.model_fields) - {"subscription_id"}
        return cls(subscription_id=made.id, **{name: getattr(made, name) for name in same})


class SourceAnswer(Answer):
    """A source of webhooks; of its secrets, how many count and until when."""

    source_id: str
    name: str
    kind: SourceKind
    project_id: str
    path: str = Field(description="where it sends to", examples=["/api/v1/webhooks/hook-01k7d2"])
    options: dict[str, Any]
    created_at: datetime
    created_by: str
    disabled_at: datetime | None = None
    version: int = 1
    secrets: tuple[SecretAnswer, ...]

    @classmethod
    def of(cls, source: WebhookSource) -> SourceAnswer:
        """What a source's record says, but for its secrets."""
        return cls(**_facts_of(source))


class SecretAnswer(Answer):
    """When a secret counts."""

    since: datetime
    until: datetime | None = Field(default=None, description="null is until it is rotated")


class SourceWithSecret(SourceAnswer):
    """A source whose secret is told this once."""

    secret: str

    @classmethod
    def made(cls, source: WebhookSource, secret: str) -> SourceWithSecret:
        """The record, and what nobody can read in it again."""
        return cls(**_facts_of(source), secret=secret)


class BegunAnswer(Answer):
    """What a delivery came to with one template."""

    template_recipe_id: str
    run_id: str | None = Field(default=None, description="null where it has no inputs for one")
    error: str | None = Field(default=None, description="why the run was refused")

    @classmethod
    def of(cls, begun: Begun) -> BegunAnswer:
        """As it was recorded."""
        return cls(template_recipe_id=begun.template_id, run_id=begun.run_id, error=begun.error)


class DeliveryAnswer(Answer):
    """What a source sent, and what it came to."""

    id: str
    source_id: str
    delivery_id: str = Field(description="the sender's")
    type: str
    status: DeliveryStatus
    received_at: datetime
    matched: tuple[BegunAnswer, ...] = ()
    error: str | None = None

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> DeliveryAnswer:
        """What a delivery's record says, without the event."""
        same = set(cls.model_fields) - {"matched"}
        facts = {name: getattr(delivery, name) for name in same}
        return cls(**facts, matched=tuple(map(BegunAnswer.of, delivery.begun)))


class Received(DeliveryAnswer):
    """The answer to a delivery."""

    run_id: str | None = Field(default=None, description="the first of the runs that it began")

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> Received:
        """With the run that a sender looks for first."""
        told = DeliveryAnswer.of(delivery)
        runs = (one.run_id for one in told.matched if one.run_id is not None)
        return cls(**dict(told), run_id=next(runs, None))


def _facts_of(source: WebhookSource) -> dict[str, Any]:
    names = ("name", "kind", "project_id", "created_at", "created_by", "disabled_at", "version")
    facts = {name: getattr(source, name) for name in names}
    options = {key: value for key, value in source.options.items() if key != "token"}
    shown = SourceOptions(**options).model_dump(by_alias=True, exclude_none=True)
    secrets = tuple(SecretAnswer(since=one.since, until=one.until) for one in source.secrets)
    path = f"{API_PREFIX}/webhooks/{source.id}"
    return {**facts, "source_id": source.id, "path": path, "options": shown, "secrets": secrets}
