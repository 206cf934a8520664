"""Durations as people write them: ``1s``, ``10m``, ``2h``, ``30d``, ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta

DURATION_HINT = "like 30s, 10m, 2h, 30d or 1h30m"
DURATION_PATTERN = r"(?:([0-9]{1,5})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,8})s)?"
"""As JSON Schema says it, beside a ``minLength``: it lets empty text through."""
_DURATION = re.compile(DURATION_PATTERN)


def parse_duration(text: str) -> timedelta | None:
    """The duration, or None if the text is not one; days before hours before minutes."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def spell_duration(length: timedelta) -> str:
    """What ``parse_duration`` reads as this, in whole seconds, rounded up."""
    left = -(-length // timedelta(seconds=1))
    parts: list[str] = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
