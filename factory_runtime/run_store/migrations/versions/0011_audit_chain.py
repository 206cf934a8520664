"""The audit: where somebody came from, and a chain of digests over it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    for name, length in (("origin", 200), ("key_id", 64), ("trace_id", 64)):
        op.add_column("audit", Column(name, _text(length)))
    op.create_index("ix_audit_at", "audit", ["tenant_id", "at", "id"])
    op.create_index("ix_audit_actor", "audit", ["tenant_id", "actor", "at"])
    op.create_index("ix_audit_action", "audit", ["tenant_id", "action", "at"])
    given = sa.text("trace_id IS NOT NULL")
    op.create_index(
        "ix_audit_trace_id",
        "audit",
        ["tenant_id", "trace_id"],
        sqlite_where=given,
        postgresql_where=given,
    )
    op.create_table(
        "audit_seals",
        Column("tenant_id", _text(64), nullable=False),
        Column("number", sa.BigInteger(), nullable=False),
        Column("entry_id", _text(64), nullable=False),
        Column("digest", _text(64), nullable=False),
        Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "number", name="pk_audit_seals"),
    )
    op.create_index(
        "ux_audit_seals_entry_id", "audit_seals", ["tenant_id", "entry_id"], unique=True
    )
    op.create_table(
        "audit_unsealed",
        Column("tenant_id", _text(64), nullable=False),
        Column("entry_id", _text(64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "entry_id", name="pk_audit_unsealed"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Releases before this one still insert: none slips in between the triggers and the copy.
        op.execute("LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE")
    op.execute("INSERT INTO audit_unsealed (tenant_id, entry_id) SELECT tenant_id, id FROM audit")
    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)


_TRIGGERS = {
    "postgresql": (
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
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$
""",
        "CREATE TRIGGER audit_waits AFTER INSERT ON audit"
        " FOR EACH ROW EXECUTE FUNCTION audit_waits()",
        *(
            f"CREATE TRIGGER {table}_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()"
            for table in ("audit", "audit_seals")
        ),
    ),
    "sqlite": (
        "CREATE TRIGGER audit_waits AFTER INSERT ON audit BEGIN"
        " INSERT INTO audit_unsealed (tenant_id, entry_id) VALUES (NEW.tenant_id, NEW.id); END",
        *(
            f"CREATE TRIGGER {table}_no_{what} BEFORE {what.upper()} ON {table} BEGIN"
            f" SELECT RAISE(ABORT, '{table} is append-only'); END"
            for table in ("audit", "audit_seals")
            for what in ("update", "delete")
        ),
    ),
}


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
