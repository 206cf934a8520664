"""Addresses that are told when runs have ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0010"
down_revision = "0009"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    op.create_table(
        "callbacks",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("url", _text(2000), nullable=False),
        Column("secret", sa.Text, nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("created_by", _text(200), nullable=False),
        Column("project_id", _text(200)),
        Column("statuses", sa.Text, nullable=False),
        Column("run_id", _text(64)),
        Column("disabled_at", _TIME),
        Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_callbacks"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"], name="fk_callbacks_runs"
        ),
    )
    for name in ("run_id", "project_id"):
        op.create_index(f"ix_callbacks_{name}", "callbacks", ["tenant_id", name])


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
