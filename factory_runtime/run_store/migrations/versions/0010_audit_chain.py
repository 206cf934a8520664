"""The audit: where somebody came from, and a chain of digests over it."""

from __future__ import annotations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
