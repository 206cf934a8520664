"""One look at something that may hang, shared by all who ask while it goes on or is fresh."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Generic, TypeVar

T = TypeVar("T")


class Look(Generic[T]):
    """Looks in a thread of its own: whoever asks waits as long as they like, and no longer.

    However many ask, and however often, there is one look at a time: one that hangs keeps one
    thread. What it found counts for ``fresh``.

    Args:
        look: what it is; it is to catch what it may raise.
    """

    def __init__(self, look: Callable[[], T], fresh: timedelta) -> None:
        self._look = look
        self._fresh = fresh.total_seconds()
        self._lock = threading.Lock()
        self._last: Future[T] | None = None
        self._stale_at = 0.0

    def begin(self) -> Future[T]:
        """What is found, now or later. Nobody may cancel it.

        Raises:
            RuntimeError: no thread can be had now.
        """
        with self._lock:
            last = self._last
            if last is None or (last.done() and time.monotonic() >= self._stale_at):
                last = Future[T]()
                threading.Thread(target=self._run, args=(last,), daemon=True).start()
                self._last = last  # not before: one that never began would be waited for for ever
            return last

    def _run(self, found: Future[T]) -> None:
        try:
            result = self._look()
        except BaseException as error:
            self._stale_at = time.monotonic() + self._fresh
            found.set_exception(error)
        else:
            self._stale_at = time.monotonic() + self._fresh
            found.set_result(result)
