"""Lists in parts: cursors that name the last one shown, and say nothing to whoever reads them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar, cast

from pydantic import Field

from factory_runtime.domain.errors import InputError, NotFoundError
from factory_runtime.wire.base import Question
from factory_runtime.wire.page import Part

T = TypeVar("T")
A = TypeVar("A")


class PartChoice(Question):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(min_length=1, max_length=2000)] | None = None


def part(
    found: Sequence[T],
    limit: int,
    answer: Callable[[T], A],
    place: Callable[[T], Sequence[str]],
    count: int | None = None,
) -> Part[A]:
    """What was found on the wire.

    Args:
        found: one more than the limit, where there is more.
        limit: of the part.
        answer: how one is told of.
        place: what names one, for the cursor.
        count: of all parts, where that was asked for.
    """
    shown = found[:limit]
    more = _pack(place(shown[-1])) if len(found) > limit else None
    return Part(items=tuple(map(answer, shown)), next_cursor=more, count=count)


def named_by(cursor: str | None, find: Callable[..., T]) -> T | None:
    """The last one shown, found by what its ``place`` said; None where there is no cursor.

    Raises:
        InputError: the cursor is none of ours, or names what is not there or not theirs to see.
    """
    if cursor is None:
        return None
    try:
        return find(*_unpack(cursor))
    except (ValueError, TypeError, RecursionError, NotFoundError) as exc:
        raise InputError("the cursor is not one of ours", hint="begin without a cursor") from exc


def _pack(names: Sequence[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(names, separators=(",", ":")).encode()).decode()


def _unpack(cursor: str) -> list[str]:
    names: Any = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    if not isinstance(names, list) or not all(
        isinstance(one, str) for one in cast("list[Any]", names)
    ):
        raise ValueError(cursor)
    return cast("list[str]", names)
