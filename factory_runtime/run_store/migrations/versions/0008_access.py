"""API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0008"
down_revision = "0007"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    op.create_table(
        "api_keys",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("prefix", _text(64), nullable=False),
        Column("hash", _text(64), nullable=False),
        Column("name", _text(200), nullable=False),
        Column("grants", sa.Text(), nullable=False),
        Column("groups", sa.Text(), nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("created_by", _text(200), nullable=False),
        Column("expires_at", _TIME),
        Column("revoked_at", _TIME),
        Column("revoked_by", _text(200)),
        Column("last_used_at", _TIME),
        Column("replaces", _text(64)),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_api_keys"),
    )
    op.create_index("ux_api_keys_prefix", "api_keys", ["prefix"], unique=True)
    given = sa.text("replaces IS NOT NULL")
    op.create_index(
        "ux_api_keys_replaces",
        "api_keys",
        ["tenant_id", "replaces"],
        unique=True,
        sqlite_where=given,
        postgresql_where=given,
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
