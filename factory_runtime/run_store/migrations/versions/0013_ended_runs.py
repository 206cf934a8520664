"""What numbers of the runs that ended lately are read by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    ended = sa.text("completed_at IS NOT NULL")
    op.create_index(
        "ix_runs_ended", "runs", ["completed_at"], sqlite_where=ended, postgresql_where=ended
    )
