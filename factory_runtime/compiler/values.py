"""JSON values as expressions see them: what may be done with one, and how much."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from factory_runtime.compiler.work import work_at_hand

MAX_RESULT = 1024 * 1024
"""Characters and list items that evaluating one value may make in all."""
MAX_INT = 2**63
_PLAIN = frozenset({str, int, float, bool, type(None)})
_PLAIN_IN_STEP = 32  # measured: looking through so many, and at their types before, takes 3 µs
_TEXT_IN_STEP = 256
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class RefusedError(Exception):
    """The operation is not possible or not allowed; the message completes ``… in EXPRESSION``."""


class Meter:
    """Counts what one evaluation makes, and what it looks at."""

    def __init__(self) -> None:
        self._left = MAX_RESULT
        self._work = work_at_hand()

    def step(self) -> None:
        """Pay for one operation."""
        self._work.charge(1)

    def look_at(self, *values: Any) -> None:
        """Pay for an operation on values, by their sizes.

        Raises:
            EndlessError: so much is not granted.
        """
        for value in values:
            self._work.charge(1)
            if isinstance(value, str):
                self._work.charge(len(value) // _TEXT_IN_STEP)
            elif isinstance(value, Mapping):
                self._look_into(cast("Mapping[str, Any]", value).values())
            elif isinstance(value, list | tuple):
                self._look_into(cast("Sequence[Any]", value))

    def _look_into(self, values: Collection[Any]) -> None:
        self._work.charge(len(values) // _PLAIN_IN_STEP)
        self._work.charge(sum(len(v) // _TEXT_IN_STEP for v in values if type(v) is str))
        self.look_at(*(value for value in values if type(value) not in _PLAIN))

    def charge(self, amount: int) -> None:
        """Pay for characters or items that are made.

        Raises:
            RefusedError: it makes too much.
            EndlessError: all together do.
        """
        self._work.charge(amount // 64)
        self._left -= amount
        if self._left < 0:
            raise RefusedError(f"the result is larger than {MAX_RESULT} characters or items")


def as_text(meter: Meter, value: Any) -> str:
    """How a value stands inside text, charged: text as it is, anything else as JSON."""
    if isinstance(value, str):
        meter.charge(len(value))
        return value
    return json_text(meter, value)


def json_text(meter: Meter, value: Any) -> str:
    """Canonical JSON, charged."""
    # In chunks: a list that names one large value many times is stopped before it is written out.
    chunks: list[str] = []
    for chunk in _JSON.iterencode(value):
        meter.charge(len(chunk))
        chunks.append(chunk)
    return "".join(chunks)


def number(value: Any) -> int | float:
    """The value, if it is a number that JSON and every database hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(f"{describe(value)} is not a number")
    if isinstance(value, int) and abs(value) >= MAX_INT:
        raise RefusedError("the number is too large")
    if isinstance(value, float) and not math.isfinite(value):
        raise RefusedError("the number is too large")
    return value


def describe(value: Any) -> str:
    """What sort of value it is, in the words of a template's author."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {value[:40]!r}"
        case int() | float():
            return f"the number {value}"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"


def text_of(value: Any) -> str:
    """The value, if it is text."""
    if not isinstance(value, str):
        raise RefusedError(f"{describe(value)} is not text")
    return value


def items_of(value: Any) -> list[Any]:
    """The items of a list, the keys of a mapping, the characters of text."""
    if isinstance(value, Mapping):
        return list(cast("Mapping[str, Any]", value))
    if isinstance(value, str):
        return list(value[: MAX_RESULT + 1])
    if isinstance(value, Sequence):
        return list(cast("Sequence[Any]", value))
    raise RefusedError(f"{describe(value)} is not a list")


def look_up(value: Any, key: Any) -> Any:
    """``value[key]`` of a mapping's key or a list's place, never an attribute.

    Raises:
        KeyError: there is none.
    """
    if isinstance(value, Mapping) and isinstance(key, str):
        return cast("Mapping[str, Any]", value)[key]
    is_place = isinstance(key, int) and not isinstance(key, bool)
    if is_place and isinstance(value, str | Sequence):
        items = cast("Sequence[Any]", value)
        if -len(items) <= key < len(items):
            return items[key]
    raise KeyError(key)


def contains(container: Any, value: Any) -> bool:
    """``value in container``: a key, an item, or a part of text."""
    if isinstance(container, str):
        return text_of(value) in container
    return value in items_of(container)
