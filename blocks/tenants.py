"""Whose runs may use a block: Prefect has no tenants, and shows a block to everybody."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Tenants = Annotated[
    list[str],
    Field(
        default_factory=list,
        description="Whose runs may use it; * is everybody's. While none is named, nobody's.",
    ),
]
"""Names of tenants."""
