"""The words of a text as a word search compares them: identifiers whole, and in their parts."""

from __future__ import annotations

import re
import unicodedata

# What hangs together without a space: ``createInvoice``, ``INV-2001``, ``src/billing.py``, ``1.3.0``.
_CHUNK = re.compile(r"\w+(?:[.\-:/@]+\w+)*")
_LETTER = r"[^\W\d_]"
_BETWEEN_PARTS = re.compile(
    r"[\W_]+"
    r"|(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    rf"|(?<={_LETTER})(?=\d)|(?<=\d)(?={_LETTER})"
)
_JOINT = re.compile(r"[\W_]+")


def words_of(text: str) -> list[str]:
    """In their order, lower case.

    A chunk of several parts gives each of them, and itself without what joins them: so
    ``createInvoice`` and ``create_invoice`` have all words in common.
    """
    found: list[str] = []
    for chunk in _CHUNK.findall(unicodedata.normalize("NFKC", text)):
        parts = [part.lower() for part in _BETWEEN_PARTS.split(chunk) if part]
        found += parts
        whole = (_JOINT.sub("", piece).lower() for piece in chunk.split("/"))
        found += (word for word in whole if word and word not in parts)
    return found
