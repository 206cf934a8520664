"""Who may come in."""

from __future__ import annotations

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table

from factory_runtime.domain.access import Grant
from factory_runtime.run_store.column_types import NamesText, TupleText, UtcTime
from factory_runtime.run_store.tables.schema import DIGEST, ID, NAME, TENANT, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("prefix", ID, nullable=False),
    Column("hash", DIGEST, nullable=False),
    Column("name", NAME, nullable=False),
    Column("grants", TupleText(Grant), nullable=False),
    Column("groups", NamesText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", NAME, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("revoked_by", NAME),
    Column("last_used_at", UtcTime),
    Column("replaces", ID),
    Column("givers", NamesText, nullable=False, server_default="[]"),
    PrimaryKeyConstraint("tenant_id", "id"),
)

# A key says nothing of its tenant, so it is looked for over all of them.
Index("ux_api_keys_prefix", api_keys.c.prefix, unique=True)
Index(
    "ux_api_keys_replaces",
    api_keys.c.tenant_id,
    api_keys.c.replaces,
    unique=True,
    sqlite_where=api_keys.c.replaces.is_not(None),
    postgresql_where=api_keys.c.replaces.is_not(None),
)
