"""The audit: where somebody came from, and a chain of digests over it."""

from __future__ import annotations

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
