"""Webhooks that come, and callbacks that go."""

from __future__ import annotations

from factory_runtime.client.call import Call, body_of, path_of, query_of
from factory_runtime.domain.webhook import DeliveryStatus
from factory_runtime.wire.callback import CallbackAnswer, CallbackWithSecret, NewCallback
from factory_runtime.wire.page import Part
from factory_runtime.wire.webhook import (
    DeliveryAnswer,
    NewSource,
    NewSubscription,
    Rotation,
    SourceAnswer,
    SourceWithSecret,
    SubscriptionAnswer,
)


def list_sources() -> Call[Part[SourceAnswer]]:
    """Who may send webhooks, by name."""
    return Call("GET", "/webhooks", Part[SourceAnswer])


def add_source(asked: NewSource) -> Call[SourceWithSecret]:
    """Let somebody send webhooks."""
    return Call("POST", "/webhooks", SourceWithSecret, body=body_of(asked), is_repeatable=False)


def rotate_source(named: str, asked: Rotation) -> Call[SourceWithSecret]:
    """Give a source another secret."""
    path = path_of("webhooks", named, "rotate")
    return Call("POST", path, SourceWithSecret, body=body_of(asked), is_repeatable=False)


def disable_source(named: str) -> Call[SourceAnswer]:
    """Take nothing of a source any more."""
    return Call("POST", path_of("webhooks", named, "disable"), SourceAnswer)


def subscribe_source(named: str, asked: NewSubscription) -> Call[SubscriptionAnswer]:
    """Have the tenant's git host send events to a source; once more finds it."""
    path = path_of("webhooks", named, "subscribe")
    return Call("POST", path, SubscriptionAnswer, body=body_of(asked))


def list_deliveries(
    *,
    source: str | None = None,
    status: DeliveryStatus | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[Part[DeliveryAnswer]]:
    """What was sent in the last week, the newest first."""
    query = query_of(source=source, status=status, limit=limit, cursor=cursor)
    return Call("GET", "/webhooks/deliveries", Part[DeliveryAnswer], query)


def decide_again(delivery_id: str) -> Call[DeliveryAnswer]:
    """Have a delivery decided once more."""
    return Call("POST", path_of("webhooks", "deliveries", delivery_id, "again"), DeliveryAnswer)


def list_callbacks() -> Call[Part[CallbackAnswer]]:
    """Who is told of ends, the oldest first."""
    return Call("GET", "/callbacks", Part[CallbackAnswer])


def add_callback(asked: NewCallback) -> Call[CallbackWithSecret]:
    """Have an address told of ends."""
    return Call("POST", "/callbacks", CallbackWithSecret, body=body_of(asked), is_repeatable=False)


def remove_callback(callback_id: str) -> Call[CallbackAnswer]:
    """Tell an address no more."""
    return Call("DELETE", path_of("callbacks", callback_id), CallbackAnswer)
