"""Webhooks and callbacks, in the stores that the settings name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cli.person import person
from factory_runtime.domain.errors import DeliveryNotFoundError, InputError

if TYPE_CHECKING:
    from factory_runtime.bootstrap import Runtime
    from factory_runtime.domain.callback import Callback
    from factory_runtime.domain.run import RunStatus
    from factory_runtime.domain.webhook import (
        DeliveryStatus,
        Subscription,
        WebhookDelivery,
        WebhookSource,
    )
    from factory_runtime.wire.webhook import NewSource, NewSubscription


@dataclass(frozen=True)
class LocalHooks:
    """Those of one tenant."""

    runtime: Runtime
    tenant: str

    def add_source(self, wanted: NewSource) -> tuple[WebhookSource, str]:
        return self.runtime.webhook_sources.add(
            self.tenant,
            person(),
            wanted.name,
            wanted.kind,
            wanted.project_id or self.runtime.settings.project,
            wanted.options,
            wanted.secret,
        )

    def list_sources(self) -> tuple[WebhookSource, ...]:
        return self.runtime.webhook_sources.list(self.tenant)

    def rotate_source(
        self, named: str, overlap: timedelta, secret: str | None
    ) -> tuple[WebhookSource, str]:
        sources = self.runtime.webhook_sources
        return sources.rotate(self.tenant, person(), named, overlap, secret)

    def disable_source(self, named: str) -> WebhookSource:
        return self.runtime.webhook_sources.disable(self.tenant, person(), named)

    def subscribe_source(self, named: str, wanted: NewSubscription) -> Subscription:
        return self.runtime.webhook_subscriber.subscribe(self.tenant, person(), named, wanted)

    def list_deliveries(
        self, source: str | None, status: DeliveryStatus | None, *, limit: int, cursor: str | None
    ) -> tuple[tuple[WebhookDelivery, ...], str | None]:
        from factory_runtime.domain.webhook import DeliveryFilter

        with self.runtime.store.begin(self.tenant, read_only=True) as tx:
            source_id = None if source is None else tx.get_webhook_source(source).id
            try:
                after = None if cursor is None else tx.get_delivery(cursor)
            except DeliveryNotFoundError as exc:
                raise InputError("the cursor is not one of ours") from exc
            where = DeliveryFilter(source_id, status)
            found = tx.list_deliveries(where, limit=limit, after=after)
        return found, found[-1].id if len(found) == limit else None

    def decide_again(self, delivery_id: str) -> WebhookDelivery:
        return self.runtime.webhook_desk.again(self.tenant, person(), delivery_id)

    def add_callback(
        self, url: str, project_id: str | None, statuses: tuple[RunStatus, ...]
    ) -> tuple[Callback, str]:
        return self.runtime.callbacks.add(self.tenant, person(), url, project_id, statuses)

    def list_callbacks(self) -> tuple[Callback, ...]:
        return self.runtime.callbacks.list(self.tenant)

    def remove_callback(self, callback_id: str) -> Callback:
        return self.runtime.callbacks.remove(self.tenant, person(), callback_id)
