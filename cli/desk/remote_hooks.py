"""Webhooks and callbacks, by a Factory API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cli.desk import from_wire
from cli.desk.remote_reading import some
from factory_runtime.client import FactoryClient, calls
from factory_runtime.wire.callback import NewCallback
from factory_runtime.wire.webhook import NewSource, NewSubscription, Rotation

if TYPE_CHECKING:
    from factory_runtime.domain.callback import Callback
    from factory_runtime.domain.run import RunStatus
    from factory_runtime.domain.webhook import (
        DeliveryStatus,
        Subscription,
        WebhookDelivery,
        WebhookSource,
    )


@dataclass(frozen=True)
class RemoteHooks:
    """Those of the tenant that the credential is of."""

    client: FactoryClient
    tenant: str

    def add_source(self, wanted: NewSource) -> tuple[WebhookSource, str]:
        made = self.client.send(calls.add_source(wanted))
        return from_wire.source_of(made, self.tenant), made.secret

    def list_sources(self) -> tuple[WebhookSource, ...]:
        found = self.client.send(calls.list_sources()).items
        return tuple(from_wire.source_of(one, self.tenant) for one in found)

    def rotate_source(
        self, named: str, overlap: timedelta, secret: str | None
    ) -> tuple[WebhookSource, str]:
        asked = Rotation(secret=secret, overlap_seconds=int(overlap.total_seconds()))
        made = self.client.send(calls.rotate_source(named, asked))
        return from_wire.source_of(made, self.tenant), made.secret

    def disable_source(self, named: str) -> WebhookSource:
        return from_wire.source_of(self.client.send(calls.disable_source(named)), self.tenant)

    def subscribe_source(self, named: str, wanted: NewSubscription) -> Subscription:
        return from_wire.subscription_of(self.client.send(calls.subscribe_source(named, wanted)))

    def list_deliveries(
        self, source: str | None, status: DeliveryStatus | None, *, limit: int, cursor: str | None
    ) -> tuple[tuple[WebhookDelivery, ...], str | None]:
        call = calls.list_deliveries(source=source, status=status, cursor=cursor)
        found, more = some(self.client, call, limit)
        return tuple(from_wire.delivery_of(one, self.tenant) for one in found), more

    def decide_again(self, delivery_id: str) -> WebhookDelivery:
        told = self.client.send(calls.decide_again(delivery_id))
        return from_wire.delivery_of(told, self.tenant)

    def add_callback(
        self, url: str, project_id: str | None, statuses: tuple[RunStatus, ...]
    ) -> tuple[Callback, str]:
        asked = NewCallback(url=url, project_id=project_id, statuses=statuses)
        made = self.client.send(calls.add_callback(asked))
        return from_wire.callback_of(made, self.tenant), made.secret

    def list_callbacks(self) -> tuple[Callback, ...]:
        found = self.client.send(calls.list_callbacks()).items
        return tuple(from_wire.callback_of(one, self.tenant) for one in found)

    def remove_callback(self, callback_id: str) -> Callback:
        removed = self.client.send(calls.remove_callback(callback_id))
        return from_wire.callback_of(removed, self.tenant)
