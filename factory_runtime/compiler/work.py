"""How much may be done for what tenants write, counted in steps of some 3 µs.

They are counted and not timed: what is refused once is refused always, on any machine.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from factory_runtime.compiler.patterns import Pattern

MAX_STEPS = 500_000
MAX_MATCHING = 1_000_000
"""Steps of matching patterns, beside those; counted at their worst, most take a hundredth."""


class EndlessError(RecursionError):
    """It takes more steps than there are: to who checks, the same as nesting without end."""

    def __init__(self) -> None:
        super().__init__("it takes too much to work out")


class Work:
    """Counts the steps of what is checked at one time.

    Attributes:
        left: steps that may still be done.
        patterns: those that were paid for, kept until the end.
    """

    def __init__(self) -> None:
        self.left = MAX_STEPS
        self.patterns: dict[str, Pattern] = {}
        self._left_to_match = MAX_MATCHING
        self._sizes: dict[int, int] = {}

    def charge(self, steps: int) -> None:
        """Pay for steps.

        Raises:
            EndlessError: none are left.
        """
        self.left -= steps
        if self.left < 0:
            raise EndlessError

    def charge_match(self, steps: int) -> None:
        """Pay for steps of reading or matching a pattern.

        Raises:
            EndlessError: none are left.
        """
        self._left_to_match -= steps
        if self._left_to_match < 0:
            raise EndlessError

    def size_of(self, value: Any) -> int:
        """Values in it and itself; 64 characters of text count as one more."""
        if isinstance(value, str):
            return 1 + len(value) // 64
        if not isinstance(value, (dict, list)):
            return 1
        # Whatever is checked is there until the end: no other value takes its id.
        known = self._sizes.get(id(cast("object", value)))
        if known is None:
            inner = cast("Iterable[Any]", value.values() if isinstance(value, dict) else value)
            known = 1 + sum(map(self.size_of, inner))
            if isinstance(value, dict):
                known += sum(len(key) for key in cast("dict[str, Any]", value)) // 64
            self._sizes[id(cast("object", value))] = known
        return known


_WORK: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def one_work() -> Generator[Work]:
    """All that is checked inside is counted together."""
    work = _WORK.get()
    if work is not None:
        yield work
        return
    token = _WORK.set(work := Work())
    try:
        yield work
    finally:
        _WORK.reset(token)


def work_at_hand() -> Work:
    """What is counted together now, or else a count of its own."""
    return _WORK.get() or Work()
