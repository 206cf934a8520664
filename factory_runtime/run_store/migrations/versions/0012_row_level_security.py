"""A second wall between tenants, in PostgreSQL."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from factory_runtime.run_store.migrations.tenant_wall import (
    APPEND,
    CHANGE,
    ensure_tenant_role,
    put_behind_wall,
)
from factory_runtime.run_store.walls import TENANT_ROLE

revision = "0012"
down_revision = "0011"

_SHOWN_BY = {"api_keys": "prefix", "webhook_sources": "id"}
_ONLY_APPENDED = {"audit", "audit_seals"}


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    ensure_tenant_role(connection)
    for table in connection.execute(text(_TABLES)).scalars().all():
        put_behind_wall(
            connection,
            table,
            rights=APPEND if table in _ONLY_APPENDED else CHANGE,
            shown_by=_SHOWN_BY.get(table, ""),
        )
    # Who opens the store looks at its revision.
    op.execute(f"GRANT SELECT ON alembic_version TO {TENANT_ROLE}")
    may_use, schema = connection.execute(text(_SCHEMA), {"role": TENANT_ROLE}).one()
    if not may_use:
        op.execute(f"GRANT USAGE ON SCHEMA {schema} TO {TENANT_ROLE}")


_TABLES = """
    SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND attname = 'tenant_id'
    ORDER BY relname
"""
_SCHEMA = """
    SELECT has_schema_privilege(:role, current_schema(), 'USAGE'), quote_ident(current_schema())
"""
