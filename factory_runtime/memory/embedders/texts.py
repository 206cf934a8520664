"""What is done to a text before any model reads it."""

from __future__ import annotations


def readable(text: str, characters: int) -> str:
    """Its beginning, so many characters at most, without lone surrogates, which have no UTF-8."""
    return text[:characters].encode("utf-8", "replace").decode("utf-8")
