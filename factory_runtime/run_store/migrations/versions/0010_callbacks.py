"""Callbacks: who is told when a run has ended."""

from __future__ import annotations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
