"""Markdown by its headings; what is long, by its paragraphs. Fenced code stays in one piece."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.parts import Size, fits, split, text_of, trimmed
from factory_runtime.memory.cutting.source import SourceFile

_WANTED = Size(lines=60, characters=1_600)
_WHOLE = Size(lines=60, characters=2_400)
"""A list or a table that is larger is cut between its items; nothing else is."""
_SHORT_DECISION = Size(lines=60, characters=1_200)
"""Context, decision and consequence of such a note are read in one go."""
_PARTS_OF_DECISION = (frozenset({"context"}), frozenset({"decision", "choice", "decision outcome"}))
_MAX_LINES = 20_000
_MAX_FRONT_MATTER = 200
_MAX_HEADING = 120
_MARKUP = re.compile(r"[*_`~]+|!?\[([^]]{0,200})\]\([^)]{0,400}\)")


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading with what stands under it; the first has none.

    Attributes:
        level: of the heading, 1 to 6.
        last_of_heading: the line before what stands under it.
    """

    level: int
    heading: str
    first: int
    last_of_heading: int


def cut_markdown(source: SourceFile) -> list[Piece] | None:
    """Sections that have something to say, named by the headings that lead to them.

    None where there is more of it than can be read in a few seconds.
    """
    if len(source.lines) > _MAX_LINES:
        return None
    begin = _after_front_matter(source.lines)
    # Blank lines instead of it: so the others keep their numbers.
    text = "\n".join(["", *source.lines][begin:])
    tokens = _parser().parse("\n" * (begin - 1) + text)
    sections = [_Section(0, "", begin, begin - 1), *_sections(tokens)]
    end = len(source.lines)
    everything = trimmed(source.lines, range(begin, end + 1))
    if _is_decision(sections) and fits(source.lines, everything, _SHORT_DECISION):
        title = next((s.heading for s in sections if s.level == 1), source.name)
        return [_piece(source, title, everything)]
    borders = _borders(tokens)
    pieces: list[Piece] = []
    path: list[_Section] = []
    for place, section in enumerate(sections):
        last = sections[place + 1].first - 1 if place + 1 < len(sections) else end
        path = [*(above for above in path if above.level < section.level), section]
        name = " > ".join(part.heading for part in path if part.heading) or source.name
        if not _says_something(source.lines[section.last_of_heading : last]):
            continue
        kept = trimmed(source.lines, range(section.first, last + 1))
        parts = split(source.lines, kept, borders, _WANTED, _WHOLE)
        pieces.extend(_piece(source, name, part) for part in parts)
    return pieces


def _piece(source: SourceFile, name: str, part: Sequence[int]) -> Piece:
    text = text_of(source.lines, part)
    return Piece(source.path, PieceKind.SECTION, name, source.language, part[0], part[-1], text)


@cache
def _parser() -> MarkdownIt:
    # Only blocks: what stands inside of a line decides nothing, and takes most of the time.
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _after_front_matter(lines: Sequence[str]) -> int:
    """The line, counted from 1, with which the text begins."""
    if lines[0].rstrip() != "---":
        return 1
    for number, line in enumerate(lines[1:_MAX_FRONT_MATTER], start=2):
        if line.rstrip() in {"---", "..."}:
            return number + 1
    return 1


def _sections(tokens: Sequence[Token]) -> Iterator[_Section]:
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            heading = _plain(tokens[place + 1].content)
            yield _Section(int(token.tag[1:]), heading, token.map[0] + 1, token.map[1])


def _plain(heading: str) -> str:
    plain = _MARKUP.sub(lambda found: found[1] or "", heading[:1000])
    return " ".join(plain.split())[:_MAX_HEADING]


def _borders(tokens: Sequence[Token]) -> Mapping[int, int]:
    borders: dict[int, int] = {}
    begun: set[int] = set()
    for before, token in pairwise(tokens):
        if token.map and before.type == "heading_close":
            begun.add(token.map[0] + 1)  # a heading by itself is no part
        if token.map and token.nesting >= 0:
            borders.setdefault(token.map[0] + 1, token.level)
    return {line: level for line, level in borders.items() if line not in begun}


def _is_decision(sections: Sequence[_Section]) -> bool:
    headings = {section.heading.lower() for section in sections}
    return all(not headings.isdisjoint(part) for part in _PARTS_OF_DECISION)


def _says_something(lines: Sequence[str]) -> bool:
    return any(c.isalnum() for line in lines for c in line)
