"""API keys."""

from __future__ import annotations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
