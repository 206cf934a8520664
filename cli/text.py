"""How values read in a terminal: durations, sizes, local times, text that others wrote."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


_UNITS = (("min", "s", 1, 60), ("h", "min", 60, 60), ("d", "h", 3600, 24))
_MOST = {"min": 60, "h": 48, "d": 100_000}


def clean(text: str) -> str:
    """Text that somebody else wrote, without what would steer the terminal; lines are kept."""
    return _CONTROL.sub("�", text)


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(clean(text).split())


def first_line(text: str) -> str:
    """What a longer message says first."""
    return one_line(text.strip().partition("\n")[0])


def duration(length: timedelta | float | None) -> str:
    """``0.12 s``, ``1.2 s``, ``3 min 20 s``, ``2 h``, ``30 d``; nothing where it is not known."""
    if length is None:
        return ""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if seconds < 1:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, smaller, length_of_smaller, count in _UNITS:
        whole = round(seconds / length_of_smaller)
        if whole < count * _MOST[unit]:
            rest = whole % count
            return f"{whole // count} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{round(seconds / 86400)} d"


def size(count: int | None) -> str:
    """``512 B``, ``12.3 KiB``, ``4.0 MiB``; nothing where it is not known."""
    if count is None:
        return ""
    if count < 1024:
        return f"{count} B"
    scaled = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        scaled /= 1024
        if scaled < 1024:
            return f"{scaled:.1f} {unit}"
    return f"{scaled / 1024:.1f} TiB"


def local_time(at: datetime | None) -> str:
    """Date and time where the reader is, to the second."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_time(at: datetime) -> str:
    """The time of day where the reader is."""
    return at.astimezone().strftime("%H:%M:%S")


def moment(at: datetime, now: datetime) -> str:
    """A time where the reader is, with its day unless that is today."""
    is_today = at.astimezone().date() == now.astimezone().date()
    return clock_time(at) if is_today else local_time(at)


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``11th``."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"
