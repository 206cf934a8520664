"""A Body: JSON that stands in its row while it is small, and in artifact storage when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INLINE_LIMIT = 16 * 1024
"""Bytes of canonical JSON up to which a row holds the body itself."""


@dataclass(frozen=True, slots=True)
class BodyReference:
    """Where a large body lies: ``digest`` is its SHA-256, which is also its name there."""

    digest: str
    size: int
    media_type: str = "application/json"
    classification: str = "internal"


@dataclass(frozen=True, slots=True)
class Body:
    """Either the value itself or a reference to it, never both."""

    inline: Any = None
    reference: BodyReference | None = None
