"""Where a run's repositories are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add to what there is; runs of before keep none, and ask their tenant's host of the day."""
    name = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")
    op.add_column("runs", Column("git_host", name))
