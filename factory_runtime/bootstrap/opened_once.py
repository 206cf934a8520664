"""A part of the runtime: opened where it is first asked for, and once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar, overload

T = TypeVar("T")


class opened_once(cached_property[T]):  # noqa: N801 - a decorator
    """A ``cached_property`` that threads may ask at once: from Python 3.12 on, that has no lock."""

    def __init__(self, func: Callable[[Any], T]) -> None:
        super().__init__(func)
        self._turn = threading.RLock()

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> opened_once[T]: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(
        self, instance: object | None, owner: type[Any] | None = None
    ) -> opened_once[T] | T:
        if instance is None:
            return self
        with self._turn:
            return super().__get__(instance, owner)
