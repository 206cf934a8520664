"""The run store's transaction: webhooks and callbacks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from factory_runtime.domain.callback import MOST_OF_RUN, MOST_OF_TENANT, Callback
from factory_runtime.domain.errors import (
    CallbackNotFoundError,
    DeliveryNotFoundError,
    PermanentError,
    StaleVersionError,
    WebhookNotFoundError,
    WebhookTakenError,
)
from factory_runtime.domain.run import Run
from factory_runtime.domain.webhook import (
    DeliveryFilter,
    DeliveryStatus,
    WebhookDelivery,
    WebhookSource,
)
from factory_runtime.run_store.paging import beyond
from factory_runtime.run_store.records import CALLBACKS, DELIVERIES, SOURCES
from factory_runtime.run_store.rows import Condition, TenantRows
from factory_runtime.run_store.tables import callbacks, webhook_deliveries, webhook_sources


class Webhooks:
    """``ports.WebhookRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    # sources

    def add_webhook_source(self, source: WebhookSource) -> None:
        if not self._rows.insert_if_absent(SOURCES, source):
            raise WebhookTakenError(
                f"there is a source of webhooks called {source.name}", hint="choose another name"
            )

    def get_webhook_source(self, named: str) -> WebhookSource:
        found = self._rows.find(SOURCES, id=named) or self._rows.find(SOURCES, name=named)
        if found is None:
            raise WebhookNotFoundError(
                f"no source of webhooks {named}", hint="`factory webhooks list` shows them"
            )
        return found

    def list_webhook_sources(self) -> tuple[WebhookSource, ...]:
        return self._rows.list(SOURCES, order_by=(webhook_sources.c.name,))

    def save_webhook_source(self, before: WebhookSource, after: WebhookSource) -> None:
        changes = SOURCES.changes(before, after)
        if not self._rows.change(SOURCES, changes, id=before.id, version=before.version):
            raise StaleVersionError(f"source {before.name} changed meanwhile", hint="read it again")

    # deliveries

    def add_delivery(self, delivery: WebhookDelivery) -> WebhookDelivery | None:
        if self._rows.insert_if_absent(DELIVERIES, delivery):
            return None
        source_id = delivery.source_id
        stands = self._rows.find(
            DELIVERIES, source_id=source_id, delivery_id=delivery.delivery_id
        ) or self._rows.find(DELIVERIES, source_id=source_id, replay_key=delivery.replay_key)
        if stands is None:
            raise PermanentError(f"delivery {delivery.id} was not written")
        return stands

    def get_delivery(self, delivery_id: str) -> WebhookDelivery:
        found = self._rows.find(DELIVERIES, id=delivery_id)
        if found is None:
            raise DeliveryNotFoundError(
                f"no delivery {delivery_id}", hint="`factory webhooks deliveries` shows them"
            )
        return found

    def save_delivery(self, delivery: WebhookDelivery) -> None:
        row = DELIVERIES.row_of(delivery)
        changes = {name: row[name] for name in ("asked_at", "event", "status", "begun", "error")}
        self._rows.change(DELIVERIES, changes, id=delivery.id)

    def list_deliveries(
        self, where: DeliveryFilter, *, limit: int = 50, after: WebhookDelivery | None = None
    ) -> tuple[WebhookDelivery, ...]:
        columns = webhook_deliveries.c
        pairs = (
            (columns.source_id, where.source_id),
            (columns.status, where.status),
            (columns.type, where.type),
        )
        conditions: list[Condition] = [
            column == wanted for column, wanted in pairs if wanted is not None
        ]
        if after is not None:
            place = (after.received_at, after.id)
            conditions.append(beyond(columns.received_at, columns.id, *place, rising=False))
        order = (columns.received_at.desc(), columns.id.desc())
        return self._rows.list(DELIVERIES, *conditions, order_by=order, limit=limit)

    def drop_deliveries(self, before: datetime, *, limit: int) -> int:
        columns = webhook_deliveries.c
        old = (
            select(columns.id)
            .where(
                columns.tenant_id == self._rows.tenant_id,
                columns.received_at < before,
                columns.status != DeliveryStatus.RECEIVED,
            )
            .order_by(columns.received_at, columns.id)
            .limit(limit)
        )
        return self._rows.delete(DELIVERIES, columns.id.in_(old))

    # callbacks

    def add_callback(self, callback: Callback) -> None:
        self._rows.insert(CALLBACKS, [callback])

    def get_callback(self, callback_id: str) -> Callback:
        found = self._rows.find(CALLBACKS, id=callback_id)
        if found is None:
            raise CallbackNotFoundError(
                f"no callback {callback_id}", hint="`factory callbacks list` shows them"
            )
        return found

    def list_callbacks(self, *, run_id: str | None = None) -> tuple[Callback, ...]:
        order = (callbacks.c.created_at, callbacks.c.id)
        return self._rows.list(CALLBACKS, callbacks.c.run_id == run_id, order_by=order)

    def list_callbacks_of(self, run: Run) -> tuple[Callback, ...]:
        columns = callbacks.c
        of_project = columns.project_id.is_(None) | (columns.project_id == run.project_id)
        # Asked for both at once, SQLite would look at those of all runs.
        return (
            *self._list_told(columns.run_id.is_(None), of_project, limit=MOST_OF_TENANT),
            *self._list_told(columns.run_id == run.id, limit=MOST_OF_RUN),
        )

    def count_callbacks(self) -> int:
        columns = callbacks.c
        return self._rows.count(CALLBACKS, columns.disabled_at.is_(None), columns.run_id.is_(None))

    def _list_told(self, *where: Condition, limit: int) -> tuple[Callback, ...]:
        columns = callbacks.c
        order = (columns.created_at, columns.id)
        living = columns.disabled_at.is_(None)
        return self._rows.list(CALLBACKS, living, *where, order_by=order, limit=limit)

    def save_callback(self, callback: Callback) -> None:
        changes = {"disabled_at": callback.disabled_at, "reason": callback.reason}
        self._rows.change(CALLBACKS, changes, id=callback.id)
