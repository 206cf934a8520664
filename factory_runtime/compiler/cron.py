"""Cron expressions of five fields: what is wrong with one, before a scheduler stumbles over it."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field

_PART = re.compile(r"(?:(\*)|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]{1,4}))?")
_LEAP_YEAR = 2024


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five, and what may stand in it."""

    what: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict[str, int])

    def read(self, text: str) -> frozenset[int] | None:
        """The numbers that a field's text stands for; None where it is none."""
        found: set[int] = set()
        for part in text.lower().split(","):
            match = _PART.fullmatch(part)
            if match is None:
                return None
            star, first, last, step = match.groups()
            start = self.low if star else self._number(first)
            # Without an end, a step goes on to the last there is.
            end = self.high if star or (step and not last) else self._number(last or first)
            if start is None or end is None or start > end or step == "0" * len(step or "-"):
                return None
            found.update(range(start, end + 1, int(step or 1)))
        return frozenset(found)

    def _number(self, text: str) -> int | None:
        number = int(text) if text.isdecimal() else self.names.get(text)
        return number if number is not None and self.low <= number <= self.high else None


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Field("weekday", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)


def cron_problem(text: str) -> str | None:
    """What is wrong with a cron expression; None where it names times that come."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        return f"has {len(parts)} fields instead of five"
    read = [(known, known.read(part)) for known, part in zip(_FIELDS, parts, strict=True)]
    for (known, numbers), part in zip(read, parts, strict=True):
        if numbers is None:
            return f"has no {known.what} {part!r}: from {known.low} to {known.high}"
    days, months = (numbers or frozenset[int]() for _, numbers in read[2:4])
    longest = max(monthrange(_LEAP_YEAR, month)[1] for month in months)
    if parts[4] == "*" and min(days) > longest:
        return "names a day that no such month has"
    return None
