"""Which versions of templates were published, and what from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0005"
down_revision = "0004"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    op.create_table(
        "publications",
        Column("tenant_id", _text(64), nullable=False),
        Column("template_id", _text(200), nullable=False),
        Column("version", _text(64), nullable=False),
        Column("origin", _text(2000), nullable=False),
        Column("published_at", _TIME, nullable=False),
        Column("published_by", _text(200), nullable=False),
        Column("ref", _text(200)),
        Column("commit_id", _text(200)),
        Column("withdrawn_at", _TIME),
        sa.PrimaryKeyConstraint("tenant_id", "template_id", "version", name="pk_publications"),
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
