"""Webhooks: who may send them, and what was sent."""

from __future__ import annotations

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
