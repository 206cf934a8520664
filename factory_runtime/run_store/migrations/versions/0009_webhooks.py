"""Webhooks: who may send them, and what was sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0009"
down_revision = "0008"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
    _sources()
    _deliveries()


def _sources() -> None:
    op.create_table(
        "webhook_sources",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("name", _text(200), nullable=False),
        Column("kind", sa.String(32), nullable=False),
        Column("project_id", _text(200), nullable=False),
        Column("secrets", sa.Text, nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("created_by", _text(200), nullable=False),
        Column("options", sa.Text, nullable=False),
        Column("version", sa.Integer, nullable=False),
        Column("disabled_at", _TIME),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_webhook_sources"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_webhook_sources"),
    )
    op.create_index("ix_webhook_sources_project_id", "webhook_sources", ["tenant_id", "project_id"])
    op.create_index("ux_webhook_sources_id", "webhook_sources", ["id"], unique=True)


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        Column("tenant_id", _text(64), nullable=False),
        Column("id", _text(64), nullable=False),
        Column("source_id", _text(64), nullable=False),
        Column("delivery_id", _text(200), nullable=False),
        Column("replay_key", _text(64), nullable=False),
        Column("body_digest", _text(64), nullable=False),
        Column("type", _text(200), nullable=False),
        Column("received_at", _TIME, nullable=False),
        Column("asked_at", _TIME, nullable=False),
        Column("event", sa.Text, nullable=False),
        Column("status", sa.String(32), nullable=False),
        Column("begun", sa.Text, nullable=False),
        Column("error", sa.Text),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_id"],
            ["webhook_sources.tenant_id", "webhook_sources.id"],
            name="fk_webhook_deliveries_webhook_sources",
        ),
    )
    for name in ("delivery_id", "replay_key"):
        op.create_index(
            f"ux_webhook_deliveries_{name}",
            "webhook_deliveries",
            ["tenant_id", "source_id", name],
            unique=True,
        )
    op.create_index(
        "ix_webhook_deliveries_age", "webhook_deliveries", ["tenant_id", "received_at", "id"]
    )
    op.create_index("ix_webhook_deliveries_old", "webhook_deliveries", ["received_at", "tenant_id"])


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on every database."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
