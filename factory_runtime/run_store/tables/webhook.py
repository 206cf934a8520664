"""Webhooks: who may send them, and what was sent."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from factory_runtime.domain.webhook import Begun, DeliveryStatus, SourceKind, SourceSecret
from factory_runtime.run_store.column_types import (
    BodyText,
    EnumText,
    JsonText,
    LongText,
    TupleText,
    UtcTime,
)
from factory_runtime.run_store.tables.schema import DIGEST, ID, NAME, OUTSIDE_ID, TENANT, metadata

webhook_sources = Table(
    "webhook_sources",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("name", NAME, nullable=False),
    Column("kind", EnumText(SourceKind), nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("secrets", TupleText(SourceSecret), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", NAME, nullable=False),
    Column("options", JsonText, nullable=False),
    Column("version", Integer, nullable=False),
    Column("disabled_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    Index("ix_webhook_sources_project_id", "tenant_id", "project_id"),
)

# A sender says nothing of its tenant: the source in the URL does.
Index("ux_webhook_sources_id", webhook_sources.c.id, unique=True)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("source_id", ID, nullable=False),
    Column("delivery_id", OUTSIDE_ID, nullable=False),
    Column("replay_key", DIGEST, nullable=False),
    Column("body_digest", DIGEST, nullable=False),
    Column("type", NAME, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("event", BodyText, nullable=False),
    Column("status", EnumText(DeliveryStatus), nullable=False),
    Column("begun", TupleText(Begun), nullable=False),
    Column("error", LongText),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(
        ["tenant_id", "source_id"], ["webhook_sources.tenant_id", "webhook_sources.id"]
    ),
    Index(
        "ux_webhook_deliveries_delivery_id", "tenant_id", "source_id", "delivery_id", unique=True
    ),
    Index("ux_webhook_deliveries_replay_key", "tenant_id", "source_id", "replay_key", unique=True),
    Index("ix_webhook_deliveries_age", "tenant_id", "received_at", "id"),
    Index("ix_webhook_deliveries_old", "received_at", "tenant_id"),
)
