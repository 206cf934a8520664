"""Who stands behind an API key, and behind a vote that was given with one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add to what there is; the release before leaves both empty."""
    op.add_column("api_keys", _names("givers"))
    op.add_column("votes", _names("behind"))


def _names(column: str) -> Column[str]:
    return Column(column, sa.Text(), nullable=False, server_default="[]")
