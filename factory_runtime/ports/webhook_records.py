"""Who may send webhooks to a tenant, what was sent, and who is told of ends."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from factory_runtime.domain.callback import Callback
from factory_runtime.domain.run import Run
from factory_runtime.domain.webhook import DeliveryFilter, WebhookDelivery, WebhookSource


class WebhookRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    # sources
    def add_webhook_source(self, source: WebhookSource) -> None:
        """Insert.

        Raises:
            WebhookTakenError: the tenant has one of this name.
        """
        ...

    def get_webhook_source(self, named: str) -> WebhookSource:
        """By its id or its name.

        Raises:
            WebhookNotFoundError: there is none.
        """
        ...

    def list_webhook_sources(self) -> tuple[WebhookSource, ...]:
        """By name; disabled ones too."""
        ...

    def save_webhook_source(self, before: WebhookSource, after: WebhookSource) -> None:
        """Compare-and-set on ``before.version``.

        Raises:
            StaleVersionError: somebody else changed it since it was read.
        """
        ...

    # deliveries
    def add_delivery(self, delivery: WebhookDelivery) -> WebhookDelivery | None:
        """Insert; what stands where the source has sent it before, by its id or its replay key."""
        ...

    def get_delivery(self, delivery_id: str) -> WebhookDelivery:
        """By our id.

        Raises:
            DeliveryNotFoundError: there is none.
        """
        ...

    def save_delivery(self, delivery: WebhookDelivery) -> None:
        """Write what has become of it. Hold its lock."""
        ...

    def list_deliveries(
        self, where: DeliveryFilter, *, limit: int = 50, after: WebhookDelivery | None = None
    ) -> tuple[WebhookDelivery, ...]:
        """Newest first; ``after`` continues behind the last one of a page."""
        ...

    def drop_deliveries(self, before: datetime, *, limit: int) -> int:
        """Delete so many at most of those that are older and decided, the oldest; how many."""
        ...

    # callbacks
    def add_callback(self, callback: Callback) -> None: ...

    def get_callback(self, callback_id: str) -> Callback:
        """Raises CallbackNotFoundError."""
        ...

    def list_callbacks(self, *, run_id: str | None = None) -> tuple[Callback, ...]:
        """The oldest first: those of one run, or those that are of no single run; removed ones too."""
        ...

    def list_callbacks_of(self, run: Run) -> tuple[Callback, ...]:
        """Those that are told of this run's end, if of ends like its; the run's own come last.

        The oldest first, and no more than a tenant and a run may have.
        """
        ...

    def count_callbacks(self) -> int:
        """How many there are of more than one run that are still told."""
        ...

    def save_callback(self, callback: Callback) -> None:
        """Write whether, and why, it is told no more."""
        ...
