"""Pieces: what a file is cut into so that each can be found by itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PieceKind(StrEnum):
    """What a piece is of its file."""

    FUNCTION = "function"
    CLASS = "class"
    SECTION = "section"
    OPERATION = "operation"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file that stands for itself.

    Attributes:
        name: what it is called, with what it stands in: ``Basket.add``, ``Setup > Keys``,
            ``POST /orders``.
        language: of the file: ``python``, ``markdown``, ``openapi``; empty where it is not known.
        first_line, last_line: from 1, both are in it.
    """

    path: str
    kind: PieceKind
    name: str
    language: str
    first_line: int
    last_line: int
    text: str
