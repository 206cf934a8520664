"""What may come in from outside: JSON that every part of the factory can store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

MAX_DEPTH = 32
_MAX_INT = 2**63

Path = tuple[str | int, ...]


def find_bad_value(value: Any) -> tuple[Path, str] | None:
    """The first value that cannot be stored, as its path and why; None where all is well.

    Besides what JSON does not know, that is: text with a NUL (no database takes it) or half of a
    surrogate pair (no UTF-8), numbers beyond 64 bits, and more than ``MAX_DEPTH`` levels.
    """
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, here = waiting.pop()
        why = _why_bad(here)
        if why is not None or len(path) >= MAX_DEPTH:
            return path[:MAX_DEPTH], why or f"nested deeper than {MAX_DEPTH} levels"
        if isinstance(here, Mapping):
            for key, item in cast("Mapping[Any, Any]", here).items():
                why = "a key must be text" if not isinstance(key, str) else _why_bad(key)
                if why is not None:
                    return path, why
                waiting.append(((*path, key), item))
        elif isinstance(here, list | tuple):
            items = cast("list[Any]", here)
            waiting.extend(((*path, number), item) for number, item in enumerate(items))
    return None


def _why_bad(value: Any) -> str | None:
    match value:
        case None | bool() | Mapping() | list() | tuple():
            return None
        case str():
            bad = "\0" in value
            if not value.isascii():
                bad = bad or any("\ud800" <= c <= "\udfff" for c in value)
            return "the text holds a character that cannot be stored" if bad else None
        case int():
            return None if abs(value) < _MAX_INT else "the number is too large"
        case float():
            return None if math.isfinite(value) else "the number is not finite"
        case _:
            return f"{type(cast('object', value)).__name__} is not a JSON value"
