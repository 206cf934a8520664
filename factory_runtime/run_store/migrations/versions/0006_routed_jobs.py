"""Where a job is done that its run does not do itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    op.add_column("jobs", Column("routed_to", _text(200)))
    op.add_column("jobs", Column("routed_flow_run_id", _text(64)))
    given = sa.text("routed_flow_run_id IS NOT NULL")
    op.create_index(
        "ux_jobs_routed_flow_run_id",
        "jobs",
        ["routed_flow_run_id"],
        unique=True,
        sqlite_where=given,
        postgresql_where=given,
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
