"""Text that no parser of ours reads: cut at blank lines and along what stands at the left edge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.parts import (
    Size,
    indentation,
    is_meaningful,
    split,
    text_of,
    trimmed,
)
from factory_runtime.memory.cutting.source import SourceFile

_WANTED = Size(lines=60, characters=2_000)
_CLOSER = re.compile(r"\s*(?:[)\]}]|</|(?:else|end|fi|done|EOF)\b)")
_COMMENTS = ("#", "//", "-- ", "/*")
_QUOTED = re.compile(r"\$\w{0,60}\$")
_INSIDE = 10_000
_LABEL = 60
"""Characters of the line that names a block."""


def cut_blocks(source: SourceFile) -> list[Piece]:
    """The file as one piece, or sections of it where it is long."""
    kept = trimmed(source.lines, range(1, len(source.lines) + 1))
    if not any(is_meaningful(source.line(number)) for number in kept):
        return []
    parts = split(source.lines, kept, _borders(source), _WANTED)
    parts = [part for part in parts if any(is_meaningful(source.line(n)) for n in part)]
    if len(parts) == 1:
        return [_piece(source, PieceKind.FILE, source.name, parts[0])]
    return [_piece(source, PieceKind.SECTION, _label(source, part), part) for part in parts]


def _piece(source: SourceFile, kind: PieceKind, name: str, part: Sequence[int]) -> Piece:
    text = text_of(source.lines, part)
    return Piece(source.path, kind, name, source.language, part[0], part[-1], text)


def _label(source: SourceFile, part: Sequence[int]) -> str:
    line = next(source.line(number) for number in part if is_meaningful(source.line(number)))
    label = " ".join(line.split())[:_LABEL].rstrip(" :={[(,")
    return f"{source.name} > {label}"


def _borders(source: SourceFile) -> Mapping[int, int]:
    """0 where a blank line stands before, 1 at the left edge; else by indentation."""
    borders: dict[int, int] = {}
    previous, follows_key = "", False
    for number, line in enumerate(source.lines, start=1):
        bare = line.strip()
        indent = indentation(line)
        is_item = bare.startswith("- ")
        if bare and not _CLOSER.match(line) and not _goes_on(previous):
            if indent == 0 and is_item and follows_key:
                borders[number] = 2
            elif indent:
                borders[number] = 1 + indent
            else:
                borders[number] = 1 if previous.strip() else 0
        if bare and not indent and not is_item:
            follows_key = bare.endswith(":")
        previous = line
    if source.language != "sql":
        return borders
    # A statement of SQL runs to its semicolon, whatever stands at the left edge.
    ends = _statement_ends(source.lines)
    return {n: rank if n - 1 in ends else _INSIDE + rank for n, rank in borders.items()}


def _goes_on(previous: str) -> bool:
    """Whether a line belongs to the one before: continued, or what a comment is about."""
    return previous.rstrip().endswith("\\") or previous.lstrip().startswith(_COMMENTS)


def _statement_ends(lines: Sequence[str]) -> frozenset[int]:
    """Numbers of the lines after which a statement of SQL may begin; 0 is before the first."""
    ends = {0}
    quotes: set[str] = set()
    for number, line in enumerate(lines, start=1):
        for quote in _QUOTED.findall(line):
            quotes ^= {quote}
        bare = line.strip()
        is_between = not bare or bare.startswith(_COMMENTS)
        is_end = bare.endswith(";") or bare.upper() == "GO" or (is_between and number - 1 in ends)
        if is_end and not quotes:
            ends.add(number)
    return frozenset(ends)
