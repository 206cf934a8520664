"""Lines put together to the text of a piece, and what is too long cut into several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

LEFT_OUT = "…"
"""A line that stands for lines of the file which are not in the piece."""
_LEVELS = 8
_SLACK = 1.1
_COMMENTS = ("#", "//", "-- ", "/*", "* ", "*/", "<!--")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a piece may be."""

    lines: int
    characters: int

    def holds(self, lines: int, characters: int) -> bool:
        return lines <= self.lines and characters <= self.characters


LARGEST = Size(lines=120, characters=8_000)


def is_meaningful(line: str) -> bool:
    """Whether it says something: no comment, no bracket by itself."""
    bare = line.strip()
    return any(c.isalnum() for c in bare) and not bare.startswith(_COMMENTS)


def indentation(line: str) -> int:
    """In columns."""
    wide = line.expandtabs(4)
    return len(wide) - len(wide.lstrip())


def trimmed(lines: Sequence[str], kept: Sequence[int]) -> Sequence[int]:
    """Without blank lines at both ends; numbers count from 1."""
    first, last = 0, len(kept)
    while first < last and not lines[kept[first] - 1].strip():
        first += 1
    while last > first and not lines[kept[last - 1] - 1].strip():
        last -= 1
    return kept[first:last]


def text_of(lines: Sequence[str], kept: Sequence[int]) -> str:
    """Without the indentation that all of them share; ``LEFT_OUT`` where lines are missing."""
    shared = _shared_indentation(lines[number - 1] for number in kept)
    written: list[str] = []
    for place, number in enumerate(kept):
        line = lines[number - 1]
        if place and _says_something(lines, kept[place - 1] + 1, number):
            while written and not written[-1]:
                written.pop()
            written.append(LEFT_OUT)
        if line.strip():
            written.append(line[len(shared) :])
        elif written[-1] != LEFT_OUT:
            written.append("")
    return "\n".join(written)


def fits(lines: Sequence[str], kept: Sequence[int], size: Size = LARGEST) -> bool:
    """Whether these lines can be one piece."""
    return size.holds(*_Counted(lines, kept).size(0, len(kept)))


def split(
    lines: Sequence[str],
    kept: Sequence[int],
    borders: Mapping[int, int],
    wanted: Size = LARGEST,
    whole: Size = LARGEST,
) -> list[Sequence[int]]:
    """Parts in their order, all of ``kept`` in one of them, none of more characters than LARGEST.

    ``borders`` are the lines before which may be cut: the lower the number, the better the place.
    What lies between two of them is cut at worse places only where it is larger than ``whole``, and
    anywhere only where it has too many characters. Parts become as large as ``wanted``.
    """
    counted = _Counted(lines, kept)
    total = counted.size(0, len(kept))
    if wanted.holds(*total):
        return [kept]
    units = _units(counted, borders, whole)
    # Parts of like size are better than a long one and what is left of it.
    count = max(-(-total[0] // wanted.lines), -(-total[1] // wanted.characters))
    enough = Size(int(_SLACK * total[0] / count), int(_SLACK * total[1] / count))
    parts: list[Sequence[int]] = []
    begin = 0
    for start, end in units:
        before = counted.size(begin, start)
        is_full = before[0] >= enough.lines or before[1] >= enough.characters
        if start > begin and (is_full or not wanted.holds(*counted.size(begin, end))):
            parts.append(kept[begin:start])
            begin = start
    parts.append(kept[begin:])
    return [part for part in (trimmed(lines, part) for part in parts) if part]


class _Counted:
    """Lines with their sizes added up, to know at once how large any stretch is."""

    def __init__(self, lines: Sequence[str], kept: Sequence[int]) -> None:
        self.kept = kept
        self._sums = [0]
        previous = kept[0] - 1 if kept else 0
        for number in kept:
            gap = len(LEFT_OUT) + 1 if number > previous + 1 else 0
            self._sums.append(self._sums[-1] + len(lines[number - 1]) + 1 + gap)
            previous = number

    def size(self, start: int, end: int) -> tuple[int, int]:
        return end - start, self._sums[end] - self._sums[start]


def _units(counted: _Counted, borders: Mapping[int, int], whole: Size) -> list[tuple[int, int]]:
    """What is not to be cut; from and to places in ``kept``."""
    units = [(0, len(counted.kept))]
    for level in sorted(set(borders.values()))[:_LEVELS]:
        finer: list[tuple[int, int]] = []
        for start, end in units:
            if len(units) > 1 and whole.holds(*counted.size(start, end)):
                finer.append((start, end))
                continue
            inner = range(start + 1, end)
            cuts = [i for i in inner if borders.get(counted.kept[i], level + 1) <= level]
            finer.extend(pairwise([start, *cuts, end]))
        units = finer
    return [part for unit in units for part in _by_lines(counted, unit)]


def _by_lines(counted: _Counted, unit: tuple[int, int]) -> Iterable[tuple[int, int]]:
    start, end = unit
    if counted.size(start, end)[1] <= LARGEST.characters:
        return (unit,)
    return pairwise(range(start, end + 1))


def _says_something(lines: Sequence[str], first: int, end: int) -> bool:
    return any(lines[number - 1].strip() for number in range(first, end))


def _shared_indentation(lines: Iterable[str]) -> str:
    shared: str | None = None
    for line in lines:
        bare = line.lstrip(" \t")
        if not bare.strip():
            continue
        indent = line[: len(line) - len(bare)]
        if shared is None:
            shared = indent
        while not indent.startswith(shared):
            shared = shared[:-1]
    return shared or ""
