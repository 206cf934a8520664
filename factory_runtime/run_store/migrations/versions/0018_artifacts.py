"""What artifacts are to their readers, when they expire, and what is held."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

from factory_runtime.run_store.migrations.tenant_wall import put_behind_wall

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add to what there is; the release before leaves what its jobs make without a time to expire."""
    op.add_column(
        "artifacts",
        Column("type", sa.String(32), nullable=False, server_default="generated-file"),
    )
    op.add_column(
        "artifacts",
        Column("once_downloaded", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("artifacts", Column("body_deleted_at", sa.DateTime(timezone=True)))
    expiring = sa.text("expires_at IS NOT NULL AND body_deleted_at IS NULL")
    op.create_index(
        "ix_artifacts_expiring",
        "artifacts",
        ["tenant_id", "expires_at", "id"],
        sqlite_where=expiring,
        postgresql_where=expiring,
    )
    _make_holds()
    op.create_table(
        "dying_bodies",
        Column("tenant_id", _text(64), nullable=False),
        Column("digest", _text(64), nullable=False),
        Column("marked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name="pk_dying_bodies"),
    )
    marked = ["tenant_id", "marked_at", "digest"]
    op.create_index("ix_dying_bodies_marked_at", "dying_bodies", marked)
    put_behind_wall(op.get_bind(), "holds", "dying_bodies")


def _make_holds() -> None:
    op.create_table(
        "holds",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("scope", sa.String(32), nullable=False),
        Column("subject_id", _text(64), nullable=False),
        Column("project_id", _text(200), nullable=False),
        Column("reason", sa.Text(), nullable=False),
        Column("created_at", sa.DateTime(timezone=True), nullable=False),
        Column("created_by", _text(200), nullable=False),
        Column("released_at", sa.DateTime(timezone=True)),
        Column("released_by", _text(200)),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_holds"),
    )
    op.create_index("ix_holds_age", "holds", ["tenant_id", "created_at", "id"])
    op.create_index("ix_holds_project", "holds", ["tenant_id", "project_id", "created_at", "id"])
    standing = sa.text("released_at IS NULL")
    op.create_index(
        "ix_holds_subject_id",
        "holds",
        ["tenant_id", "subject_id"],
        sqlite_where=standing,
        postgresql_where=standing,
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
