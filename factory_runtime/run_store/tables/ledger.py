"""What stands beside the runs: requests, templates, messages, locks."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, PrimaryKeyConstraint, Table, UniqueConstraint

from factory_runtime.run_store.column_types import JsonText, LongText, UtcTime
from factory_runtime.run_store.tables.schema import (
    DIGEST,
    ID,
    KEY,
    NAME,
    TENANT,
    VERSION,
    metadata,
)

outbox = Table(
    "outbox",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("topic", NAME, nullable=False),
    Column("key", KEY, nullable=False),
    Column("payload", JsonText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("not_before", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("done_at", UtcTime),
    Column("error", LongText),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "topic", "key"),
)

# For whoever drains the outbox, over all tenants: only what is still open, oldest first.
Index(
    "ix_outbox_open",
    outbox.c.created_at,
    outbox.c.id,
    outbox.c.not_before,
    sqlite_where=outbox.c.done_at.is_(None),
    postgresql_where=outbox.c.done_at.is_(None),
)

templates = Table(
    "templates",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("template_id", NAME, nullable=False),
    Column("version", VERSION, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("title", LongText, nullable=False),
    Column("description", LongText, nullable=False),
    Column("published_at", UtcTime, nullable=False),
    Column("inputs_schema", JsonText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "template_id", "version"),
)

requests = Table(
    "requests",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("idempotency_key", KEY, nullable=False),
    Column("body_digest", DIGEST, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "idempotency_key"),
)

locks = Table(
    "locks",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("name", KEY, nullable=False),
    Column("holder", NAME, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name"),
)
