"""What is deployed to Prefect, and whose it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0004"
down_revision = "0003"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    op.create_table(
        "deployments",
        Column("tenant_id", _text(64), nullable=False),
        Column("template_id", _text(200), nullable=False),
        Column("prefect_id", _text(64), nullable=False),
        Column("version", _text(64), nullable=False),
        Column("project_id", _text(200), nullable=False),
        Column("schema_digest", _text(64), nullable=False),
        Column("priority", sa.SmallInteger(), nullable=False),
        Column("deployed_at", _TIME, nullable=False),
        Column("deployed_by", _text(200), nullable=False),
        Column("withdrawn_at", _TIME),
        sa.PrimaryKeyConstraint("tenant_id", "template_id", name="pk_deployments"),
    )
    of_project = ["tenant_id", "project_id"]
    op.create_index("ix_deployments_project_id", "deployments", of_project)
    op.create_index("ux_deployments_prefect_id", "deployments", ["prefect_id"], unique=True)


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
