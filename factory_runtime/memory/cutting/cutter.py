"""Cuts any file; each language in its own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.blocks import cut_blocks
from factory_runtime.memory.cutting.code import cut_code
from factory_runtime.memory.cutting.markdown import cut_markdown
from factory_runtime.memory.cutting.openapi import cut_openapi
from factory_runtime.memory.cutting.source import SourceFile, read_source

MAX_PIECES = 2_000
"""Of one file."""


class FileCutter:
    """Cuts along functions, classes, sections and operations; of a file too large, nothing.

    The text of a piece is that of its lines, without the indentation they share; "…" stands for
    lines between that are pieces of their own, or imports. Operations and schemas of an API are
    written out instead. Names are unique among the pieces of one kind.
    """

    def cut(self, path: str, content: bytes) -> tuple[Piece, ...]:
        source = read_source(path, content)
        if source is None:
            return ()
        pieces = sorted(_cut(source), key=lambda piece: (piece.first_line, -piece.last_line))
        return tuple(_with_own_names(pieces[:MAX_PIECES]))


def _cut(source: SourceFile) -> list[Piece]:
    found: list[Piece] | None
    match source.language:
        case "markdown":
            found = cut_markdown(source)
        case "yaml" | "json":
            found = cut_openapi(source)
        case _:
            found = cut_code(source)
    return cut_blocks(source) if found is None else found


def _with_own_names(pieces: Iterable[Piece]) -> Iterable[Piece]:
    """The second of a name is called ``name (2)``: a part, or an overload."""
    seen: Counter[tuple[PieceKind, str]] = Counter()
    for piece in pieces:
        name, number = piece.name, 1
        while (piece.kind, name) in seen:
            number = seen[piece.kind, piece.name] = seen[piece.kind, piece.name] + 1
            name = f"{piece.name} ({number})"
        seen[piece.kind, name] = 1
        yield replace(piece, name=name)
