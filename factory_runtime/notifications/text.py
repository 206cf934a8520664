"""Text that somebody else may have written, made harmless for titles, headers and logs."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Text for a title or a header: one line without control characters."""
    return " ".join(_printable(text).split())


def plain(text: str) -> str:
    """Text for a body: lines without control characters."""
    return "\n".join(_printable(line).rstrip() for line in text.splitlines())


def _printable(text: str) -> str:
    readable = text.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in readable)
