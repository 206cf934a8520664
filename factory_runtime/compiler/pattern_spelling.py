r"""Regular expressions of JavaScript as Rust's ``regex`` spells them, where they differ.

jsonschema-rs itself sees to ``\d``, ``\w``, ``\s``, ``\c`` and to ``[``, ``&&`` in a class. Left
over are what Rust reads in another way (``\<`` is the start of a word), what it does not know
(``\0``, ``[^]``, ``{`` for itself), and what it knows and JavaScript does not (``\z``, ``(?x)``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ESCAPE = r"\\(?:u\{[^}]*\}|[pP]\{[^}]*\}|x[0-9A-Fa-f]{2}|0[0-9]*|.)"
_ESCAPED = re.compile(_ESCAPE, re.DOTALL)
_PIECE = re.compile(
    # (?!\n)$ means the same as $, and is how to say it to Python, too.
    rf"(?P<end>\(\?!(?:\\n|\n)\)\$)|(?P<escape>{_ESCAPE})|(?P<class>\[(?:\\.|[^\]\\])*\])"
    r"|(?P<any>\.)|(?P<times>\{[0-9]+(?:,[0-9]*)?\})|(?P<brace>\{)"
    r"|(?P<odd>\(\?(?![:=!<]|[ims-]+:))",
    re.DOTALL,
)
_SAME = {r"\<": "<", r"\>": ">", r"\0": r"\x00"}
_SAME_IN_CLASS = {**_SAME, r"\b": r"\x08"}
_NOTHING, _ANYTHING = "[]", "[^]"
# Rust's alone, or without the rest that JavaScript asks for: \x{41}, \pL.
_UNKNOWN = frozenset({r"\A", r"\z", r"\U", r"\x", r"\p", r"\P"})
_CLASSES = frozenset("dDwWsSpP")


class SpellingError(ValueError):
    """It is no regular expression of JavaScript's."""


def spelled(pattern: str) -> str:
    """The pattern in Rust's spelling, as jsonschema-rs takes it.

    Raises:
        SpellingError: it asks for what only Rust knows.
    """
    return _PIECE.sub(_piece, pattern)


def shape_of(pattern: str) -> str:
    """The pattern in Rust's spelling, with one letter for each class of characters.

    Raises:
        SpellingError: it asks for what only Rust knows.
    """
    return _PIECE.sub(lambda piece: "a" if _is_class(piece) else _piece(piece), pattern)


def once_each(pattern: str) -> str:
    """The pattern in Rust's spelling, with ``{1}`` for each count of repeats.

    Raises:
        SpellingError: it asks for what only Rust knows.
    """
    return _PIECE.sub(lambda piece: "{1}" if piece["times"] else _piece(piece), pattern)


def _is_class(piece: re.Match[str]) -> bool:
    escape: str | None = piece["escape"]
    return bool(piece["class"] or piece["any"] or (escape and escape[1] in _CLASSES))


def _piece(piece: re.Match[str]) -> str:
    text = piece[0]
    match piece.lastgroup:
        case "end":
            return "$"
        case "escape":
            return _escape(text, _SAME)
        case "class" if text == _NOTHING:
            return r"[^\s\S]"
        case "class" if text == _ANYTHING:
            return r"[\s\S]"
        case "class":
            return _ESCAPED.sub(lambda found: _escape(found[0], _SAME_IN_CLASS), text)
        case "brace":
            return r"\{"
        case "odd":
            raise SpellingError(text)
        case _:
            return text


def _escape(text: str, same: Mapping[str, str]) -> str:
    if text in _UNKNOWN:
        raise SpellingError(text)
    return same.get(text, text)
