"""Which versions of templates were published, and what from."""

from __future__ import annotations

from sqlalchemy import Column, PrimaryKeyConstraint, Table

from factory_runtime.run_store.column_types import UtcTime
from factory_runtime.run_store.tables.schema import (
    NAME,
    OUTSIDE_ID,
    TENANT,
    URI,
    VERSION,
    metadata,
)

publications = Table(
    "publications",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("template_id", NAME, nullable=False),
    Column("version", VERSION, nullable=False),
    Column("origin", URI, nullable=False),
    Column("published_at", UtcTime, nullable=False),
    Column("published_by", NAME, nullable=False),
    Column("ref", OUTSIDE_ID),
    Column("commit_id", OUTSIDE_ID),
    Column("withdrawn_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "template_id", "version"),
)
