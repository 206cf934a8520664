"""Durations as templates write them: ``1s``, ``10m``, ``2h``, ``30d``, ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta

DURATION_HINT = "like 30s, 10m, 2h, 30d or 1h30m"
_DURATION = re.compile(
    r"(?=.)(?:([0-9]{1,5})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,8})s)?"
)


def parse_duration(text: str) -> timedelta | None:
    """The duration, or None if the text is not one; days before hours before minutes."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
