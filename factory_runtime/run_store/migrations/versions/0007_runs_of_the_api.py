"""What the API lists runs by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    op.add_column("runs", Column("delivery_id", _text(200)))
    given = sa.text("delivery_id IS NOT NULL")
    op.create_index(
        "ix_runs_delivery_id",
        "runs",
        ["tenant_id", "delivery_id"],
        sqlite_where=given,
        postgresql_where=given,
    )
    place = ["tenant_id", "project_id", "status", "requested_at", "id"]
    op.create_index("ix_runs_project_status", "runs", place)
    op.create_table(
        "run_words",
        Column("tenant_id", _text(64), nullable=False),
        Column("word", _text(64), nullable=False),
        Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        Column("run_id", _text(64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "word", "requested_at", "run_id", name="pk_run_words"),
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
