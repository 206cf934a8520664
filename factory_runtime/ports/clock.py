"""Time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, aware and injected."""

    def now(self) -> datetime: ...
