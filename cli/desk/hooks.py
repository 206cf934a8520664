"""What commands ask and have done of webhooks and callbacks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from factory_runtime.domain.callback import Callback
    from factory_runtime.domain.run import RunStatus
    from factory_runtime.domain.webhook import (
        DeliveryStatus,
        Subscription,
        WebhookDelivery,
        WebhookSource,
    )
    from factory_runtime.wire.webhook import NewSource, NewSubscription


class Hooks(Protocol):
    """Who sends events, and who is told of ends. Errors are those of the services."""

    def add_source(self, wanted: NewSource) -> tuple[WebhookSource, str]:
        """A source, and its secret."""
        ...

    def list_sources(self) -> tuple[WebhookSource, ...]: ...

    def rotate_source(
        self, named: str, overlap: timedelta, secret: str | None
    ) -> tuple[WebhookSource, str]:
        """A source, and its new secret."""
        ...

    def disable_source(self, named: str) -> WebhookSource: ...

    def subscribe_source(self, named: str, wanted: NewSubscription) -> Subscription:
        """What the tenant's git host tells a source of."""
        ...

    def list_deliveries(
        self, source: str | None, status: DeliveryStatus | None, *, limit: int, cursor: str | None
    ) -> tuple[tuple[WebhookDelivery, ...], str | None]:
        """Deliveries, the newest first, and the cursor of those that follow."""
        ...

    def decide_again(self, delivery_id: str) -> WebhookDelivery: ...

    def add_callback(
        self, url: str, project_id: str | None, statuses: tuple[RunStatus, ...]
    ) -> tuple[Callback, str]:
        """A callback, and the secret that its messages are signed with."""
        ...

    def list_callbacks(self) -> tuple[Callback, ...]: ...

    def remove_callback(self, callback_id: str) -> Callback: ...
