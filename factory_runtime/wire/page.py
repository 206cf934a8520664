"""Lists in parts."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import Field

from factory_runtime.wire.base import Answer

T = TypeVar("T")


class Part(Answer, Generic[T]):
    """A part of a list."""

    items: tuple[T, ...]
    next_cursor: str | None = Field(
        default=None, description="asks for the next part, as `cursor`; null at the end"
    )
    count: int | None = Field(
        default=None, description="how many there are in all, where `withCount` asks for that"
    )
