"""The trends of one source, worked out in a process of its own that may use so much memory.

It reads rows from its standard input and writes one JSON to its standard output.
"""

from __future__ import annotations

import json
import math
import os
import sys
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from factory_runtime.domain.errors import UnreadableDataError
from factory_runtime.jobs.report.bounds import MEMORY, UNREADABLE
from factory_runtime.jobs.report.rows import Format, Row, read_rows

MOST_SERIES = 6
"""Columns that points are kept of; the others have their trends alone."""

_MOST_POINTS = 200
_TOO_BIG = 1e150
"""From here on, a square is no number any more."""

_FOR_READING = 8 * 1024 * 1024
"""What reading takes beside the data: the interpreter asks for memory by the mebibyte."""

_MOSTLY = 0.9
"""So many of its values have to be numbers for a column to be one of numbers."""

_Numbers = NDArray[np.float64]


class _Column:
    """The values of one column as numbers; NaN stands where there is none.

    Attributes:
        texts: how many values are something else.
    """

    def __init__(self, rows: int) -> None:
        self.values = array("d", [math.nan]) * rows
        self.texts = 0

    def add(self, row: int, value: Any) -> None:
        self.pad(row)
        number = number_of(value)
        if number is None:
            self.texts += value not in (None, "")
            number = math.nan
        self.values.append(number)

    def pad(self, rows: int) -> None:
        if len(self.values) < rows:
            self.values.extend([math.nan] * (rows - len(self.values)))


def number_of(value: Any) -> float | None:
    """What a value says, if it is a number; NaN and the infinite are."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str) or "_" in value:  # Python's own spelling
        return None
    try:
        return float(value)
    except ValueError:
        return None


def measure(rows: Iterator[Row], every: int) -> dict[str, Any]:
    """The trends of every column of numbers, over every so-manieth row; JSON.

    Steps count rows of the source: a slope is per row, however few are looked at.
    """
    columns: dict[str, _Column] = {}
    count = 0
    for row in islice(rows, 0, None, every):
        for name, value in row.items():
            if name not in columns:
                columns[name] = _Column(count)
            columns[name].add(count, value)
        count += 1
    trends: list[dict[str, Any]] = []
    others: list[str] = []
    for name in list(columns):
        column = columns.pop(name)  # so that its memory is free again
        trend = _trend(name, column, every, with_points=len(trends) < MOST_SERIES)
        if trend is None:
            others.append(name)
        else:
            trends.append(trend)
    return {"read": count, "trends": trends, "others": others}


def _trend(name: str, column: _Column, every: int, *, with_points: bool) -> dict[str, Any] | None:
    """None where the column is not one of numbers."""
    values: _Numbers = np.frombuffer(column.values, dtype=np.float64)
    there = np.flatnonzero(np.abs(values) < _TOO_BIG)
    numbers = int(np.count_nonzero(~np.isnan(values)))
    if not len(there) or numbers < _MOSTLY * (numbers + column.texts):
        return None
    y: _Numbers = values[there]
    x: _Numbers = there.astype(np.float64) * every
    slope, error = _slope(x, y)
    return {
        "column": name,
        "n": len(y),
        "left_out": column.texts + numbers - len(y),
        "mean": _finite(np.mean(y)),
        "slope": slope,
        "slope_error": error,
        "last": _finite(y[-1]),
        "change": _finite(y[-1] - y[0]) if len(y) > 1 else None,
        "intercept": None if slope is None else _finite(np.mean(y) - slope * np.mean(x)),
        "points": _points(x, y) if with_points else [],
    }


def _slope(x: _Numbers, y: _Numbers) -> tuple[float | None, float | None]:
    """Least squares, and the standard error of it; None where there are too few values."""
    n = len(x)
    if n < 2:
        return None, None
    dx, dy = x - np.mean(x), y - np.mean(y)
    spread = float(np.dot(dx, dx))
    slope = float(np.dot(dx, dy)) / spread
    if n < 3:
        return _finite(slope), None
    rest = dy - slope * dx
    return _finite(slope), _finite(math.sqrt(float(np.dot(rest, rest)) / (n - 2) / spread))


def _points(x: _Numbers, y: _Numbers) -> list[list[float]]:
    """Some of them, evenly, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    return [[float(x[i]), float(y[i])] for i in chosen]


def _finite(number: Any) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def _bound_memory(mebibytes: int) -> None:
    """From here on, take no more than this for data, above what is taken by now.

    Where the kernel does not say how much that is, the estimate before it is all there is.
    """
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as facts:  # noqa: PTH123 - quicker, and no path
        taken = int(facts.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = taken + _FOR_READING + mebibytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(format_: str, every: str, mebibytes: str) -> int:
    """What the process does; its exit code."""
    _bound_memory(int(mebibytes))
    body = cast("BinaryIO", sys.stdin.buffer)
    try:
        with np.errstate(all="ignore"):
            found = measure(read_rows(body, cast("Format", format_)), int(every))
        text = json.dumps(found, allow_nan=False)
    except MemoryError:
        return MEMORY
    except UnreadableDataError as error:
        sys.stderr.write(str(error))
        return UNREADABLE
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
