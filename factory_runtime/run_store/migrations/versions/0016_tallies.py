"""How often a language model was asked for the prose of memories."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

from factory_runtime.run_store.migrations.tenant_wall import put_behind_wall

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add to what there is."""
    op.create_table(
        "memory_tallies",
        Column("tenant_id", _text(64), nullable=False),
        Column("about", _text(64), nullable=False),
        Column("times", sa.Integer(), nullable=False),
        Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "about", name="pk_memory_tallies"),
    )
    op.create_index("ix_memory_tallies_about", "memory_tallies", ["about", "until"])
    without = sa.text("prose IS NULL")
    op.create_index(
        "ix_memory_records_without_prose",
        "memory_records",
        ["tenant_id", "kind", "changed_at", "id"],
        sqlite_where=without,
        postgresql_where=without,
    )
    put_behind_wall(op.get_bind(), "memory_tallies")


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
