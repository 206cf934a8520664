"""The audit, the chain over it, and the triggers that keep both as they are.

Triggers and not our own care: whoever inserts an entry, another release or somebody at the
database's prompt, leaves it to be sealed; and nobody changes one without taking a trigger away.
"""

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, Column, Index, PrimaryKeyConstraint, Table, event

from factory_runtime.run_store.column_types import JsonText, UtcTime
from factory_runtime.run_store.tables.schema import (
    DIGEST,
    ID,
    KEY,
    NAME,
    TENANT,
    found_by,
    metadata,
)

audit = Table(
    "audit",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", NAME, nullable=False),
    Column("action", NAME, nullable=False),
    Column("subject", KEY, nullable=False),
    Column("detail", JsonText, nullable=False),
    Column("origin", NAME),
    Column("key_id", ID),
    Column("trace_id", ID),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_audit_subject", "tenant_id", "subject", "at"),
    Index("ix_audit_at", "tenant_id", "at", "id"),
    Index("ix_audit_actor", "tenant_id", "actor", "at"),
    Index("ix_audit_action", "tenant_id", "action", "at"),
)

found_by(audit, "trace_id")

audit_seals = Table(
    "audit_seals",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("entry_id", ID, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("sealed_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "number"),
    Index("ux_audit_seals_entry_id", "tenant_id", "entry_id", unique=True),
)

# What waits for its seal is found here, however large the audit is.
audit_unsealed = Table(
    "audit_unsealed",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("entry_id", ID, nullable=False),
    PrimaryKeyConstraint("tenant_id", "entry_id"),
)

# The migration has these once more, word for word: a test compares the two.
_IN_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION audit_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit_unsealed (tenant_id, entry_id) VALUES (NEW.tenant_id, NEW.id);
  RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$
""",
    "CREATE TRIGGER audit_waits AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_waits()",
    *(
        f"CREATE TRIGGER {table}_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()"
        for table in ("audit", "audit_seals")
    ),
)
_IN_SQLITE = (
    "CREATE TRIGGER audit_waits AFTER INSERT ON audit BEGIN"
    " INSERT INTO audit_unsealed (tenant_id, entry_id) VALUES (NEW.tenant_id, NEW.id); END",
    *(
        f"CREATE TRIGGER {table}_no_{what} BEFORE {what.upper()} ON {table} BEGIN"
        f" SELECT RAISE(ABORT, '{table} is append-only'); END"
        for table in ("audit", "audit_seals")
        for what in ("update", "delete")
    ),
)

for _dialect, _statements in (("postgresql", _IN_POSTGRESQL), ("sqlite", _IN_SQLITE)):
    for _statement in _statements:
        event.listen(metadata, "after_create", DDL(_statement).execute_if(dialect=_dialect))
