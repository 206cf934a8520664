"""What is kept by a person's word, and which bodies are about to be deleted."""

from __future__ import annotations

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table

from factory_runtime.domain.hold import HoldScope
from factory_runtime.run_store.column_types import EnumText, LongText, UtcTime
from factory_runtime.run_store.tables.schema import DIGEST, ID, NAME, TENANT, metadata

holds = Table(
    "holds",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("scope", EnumText(HoldScope), nullable=False),
    Column("subject_id", ID, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("reason", LongText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", NAME, nullable=False),
    Column("released_at", UtcTime),
    Column("released_by", NAME),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_holds_age", "tenant_id", "created_at", "id"),
    Index("ix_holds_project", "tenant_id", "project_id", "created_at", "id"),
)

# Asked for each body that is to be deleted: only those that stand.
_STANDING = holds.c.released_at.is_(None)
Index(
    "ix_holds_subject_id",
    holds.c.tenant_id,
    holds.c.subject_id,
    sqlite_where=_STANDING,
    postgresql_where=_STANDING,
)

dying_bodies = Table(
    "dying_bodies",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("marked_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "digest"),
    Index("ix_dying_bodies_marked_at", "tenant_id", "marked_at", "digest"),
)
