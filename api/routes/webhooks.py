"""Webhooks: who may send them, what they send, and what it came to."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from api.access import Admin, Operator, address_of
from api.context import Here, api_of
from api.problems import documented
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.errors import (
    DeliveryNotFoundError,
    ForbiddenError,
    InputError,
    UnauthenticatedError,
)
from factory_runtime.domain.webhook import (
    DeliveryFilter,
    DeliveryStatus,
    WebhookDelivery,
    WebhookSource,
)
from factory_runtime.ports import RunTransaction
from factory_runtime.services.visible import visible_source
from factory_runtime.services.webhook_verify import Sent
from factory_runtime.wire.base import Question
from factory_runtime.wire.page import Part
from factory_runtime.wire.paths import API_PREFIX
from factory_runtime.wire.run import Name
from factory_runtime.wire.webhook import (
    DeliveryAnswer,
    NewSource,
    NewSubscription,
    Received,
    Rotation,
    SourceAnswer,
    SourceWithSecret,
    SubscriptionAnswer,
)

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

Source = Annotated[str, Path(min_length=1, max_length=64, description="like hook-01k7d2…")]
Named = Annotated[str, Path(min_length=1, max_length=64, description="the id or the name")]
DeliveryId = Annotated[str, Path(alias="deliveryId", min_length=1, max_length=64)]

_EVENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "an event, as its source writes and signs it",
        "content": {
            kind: {"schema": {}, "example": {"action": "created", "repository": {"name": "orders"}}}
            for kind in ("application/json", "application/cloudevents+json")
        },
    },
    "security": [],
}


class DeliveryPage(Question):
    """Which deliveries, and which part of them."""

    source: Name | None = None
    status: DeliveryStatus | None = None
    type: Name | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=64)] | None = None


@router.get("")
def list_sources(admin: Admin, api: Here) -> Part[SourceAnswer]:
    """Who may send webhooks, by name; disabled ones too."""
    sources = api.runtime.webhook_sources.list(admin.tenant_id)
    mine = (one for one in sources if admin.may(Right.ADMINISTER, one.project_id))
    return Part(items=tuple(map(SourceAnswer.of, mine)))


@router.post("", status_code=201, responses=documented(409))
def add_source(asked: NewSource, admin: Admin, api: Here, response: Response) -> SourceWithSecret:
    """Let somebody send webhooks. The answer alone has the secret that they sign with."""
    project_id = asked.project_id or api.runtime.settings.project
    admin.require(Right.ADMINISTER, project_id)
    source, secret = api.runtime.webhook_sources.add(
        admin.tenant_id,
        admin.name,
        asked.name,
        asked.kind,
        project_id,
        asked.options,
        asked.secret,
    )
    made = SourceWithSecret.made(source, secret)
    response.headers["Location"] = made.path
    return made


@router.get("/deliveries")
def list_deliveries(
    wanted: Annotated[DeliveryPage, Query()], operator: Operator, api: Here
) -> Part[DeliveryAnswer]:
    """What was sent in the last week, the newest first, and what it came to."""
    _whole_tenant(operator)
    with api.runtime.store.begin(operator.tenant_id, read_only=True) as tx:
        source = None if wanted.source is None else tx.get_webhook_source(wanted.source).id
        found = tx.list_deliveries(
            DeliveryFilter(source, wanted.status, wanted.type),
            limit=wanted.limit,
            after=_after(tx, wanted.cursor),
        )
    more = found[-1].id if len(found) == wanted.limit else None
    return Part(items=tuple(map(DeliveryAnswer.of, found)), next_cursor=more)


@router.post("/deliveries/{deliveryId}/again", responses=documented(404))
def decide_again(delivery_id: DeliveryId, operator: Operator, api: Here) -> DeliveryAnswer:
    """Have a delivery decided once more, by the templates as they are now.

    A run that it has begun is not begun again.
    """
    _whole_tenant(operator)
    desk = api.runtime.webhook_desk
    return DeliveryAnswer.of(desk.again(operator.tenant_id, operator.name, delivery_id))


@router.post("/{source}/rotate", responses=documented(404, 409))
def rotate(
    source: Named, admin: Admin, api: Here, asked: Rotation | None = None
) -> SourceWithSecret:
    """Give a source another secret; those before it count for a while beside it."""
    _administer(api, admin, source)
    wanted = asked or Rotation()
    overlap = timedelta(seconds=wanted.overlap_seconds)
    rotated, secret = api.runtime.webhook_sources.rotate(
        admin.tenant_id, admin.name, source, overlap, wanted.secret
    )
    return SourceWithSecret.made(rotated, secret)


@router.post("/{source}/subscribe", responses=documented(404, 502))
def subscribe(source: Named, asked: NewSubscription, admin: Admin, api: Here) -> SubscriptionAnswer:
    """Have the tenant's git host send events of a project to a source; once more finds it."""
    found = _administer(api, admin, source)
    admin.require(Right.ADMINISTER, asked.project_id or found.project_id)
    subscriber = api.runtime.webhook_subscriber
    return SubscriptionAnswer.of(subscriber.subscribe(admin.tenant_id, admin.name, found.id, asked))


@router.post("/{source}/disable", responses=documented(404, 409))
def disable(source: Named, admin: Admin, api: Here) -> SourceAnswer:
    """Take nothing of a source any more, for good."""
    _administer(api, admin, source)
    return SourceAnswer.of(api.runtime.webhook_sources.disable(admin.tenant_id, admin.name, source))


@router.post("/{source}", status_code=202, openapi_extra=_EVENT, responses=documented(409))
async def receive(source: Source, request: Request, response: Response) -> Received:
    """Take an event. It takes no credential but its signature; see `docs/webhooks.md`.

    It is recorded when this answers, and begins every run that it should, once, however often the
    same is sent. A run that is refused is no failure of the delivery.
    """
    headers = tuple(request.headers.items())  # their names in lower case
    sent = Sent(headers, await request.body())
    told = Received.of(await run_in_threadpool(_receive, request, source, sent))
    if told.run_id is not None:
        response.headers["Location"] = f"{API_PREFIX}/runs/{told.run_id}"
    return told


@router.options("/{source}", status_code=200, response_class=Response)
def shake_hands(source: Source, request: Request) -> Response:
    """Let who sends CloudEvents send to this address (their WebHooks 1.0, section 4).

    It says so of every address: what comes there is verified, and a sender that nobody knows learns
    nothing.
    """
    origin, headers = request.headers.get("webhook-request-origin"), {"Allow": "POST, OPTIONS"}
    if origin is not None and len(origin) <= 253 and origin.isascii():
        rate = api_of(request).limiter.deliveries_a_minute
        headers |= {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": str(rate)}
    return Response(headers=headers)


def _receive(request: Request, source: str, sent: Sent) -> WebhookDelivery:
    api = api_of(request)
    try:
        return api.runtime.webhook_desk.receive(source, sent, api.limiter.count_delivery)
    except UnauthenticatedError:
        api.limiter.count_guess(address_of(request) or "")
        raise


def _administer(api: Here, admin: Principal, source: str) -> WebhookSource:
    with api.runtime.store.begin(admin.tenant_id, read_only=True) as tx:
        return visible_source(tx, admin, source, Right.ADMINISTER)


def _whole_tenant(operator: Principal) -> None:
    """Deliveries are of no project: an event may concern any."""
    if operator.projects(Right.OPERATE) is not None:
        raise ForbiddenError("deliveries are for who operates the whole tenant")


def _after(tx: RunTransaction, cursor: str | None) -> WebhookDelivery | None:
    try:
        return None if cursor is None else tx.get_delivery(cursor)
    except DeliveryNotFoundError as exc:
        raise InputError("the cursor is not one of ours", hint="begin without a cursor") from exc
