"""Drain the outbox of an executing process when it disturbs no run, or after a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from factory_runtime.domain.errors import FactoryError

_LOG = logging.getLogger("factory.dispatcher")

WITHIN = 2.0
"""Seconds that a drain waits, at most, for a moment without a run: runs share Python's lock with it,
and it does what many of them have left for little more than what one has."""

LEARN_WITHIN = 30.0
"""Likewise for what they have taught: nobody waits for that, and it takes longer."""

QUIET = 0.25
"""Seconds without a run after which none is taken to be under way: the next may follow at once."""


class Drain(Protocol):
    """Drains once; learns what runs have taught only where it is told to."""

    def __call__(self, *, learn: bool) -> Awaitable[object]: ...


class QuietDrain:
    """Drains when it is asked to; those who ask meanwhile are served together."""

    def __init__(self, is_busy: Callable[[], bool], drain: Drain) -> None:
        self._is_busy = is_busy
        self._drain = drain
        self._asked = asyncio.Event()
        self._learned_at = time.monotonic()

    def ask(self) -> None:
        """Have it drained soon."""
        self._asked.set()

    async def serve(self) -> None:
        """Drain for all who ask, until it is cancelled."""
        while True:
            await self._asked.wait()
            is_quiet = await self._wait_for_quiet()
            self._asked.clear()
            await self.now(learn=is_quiet or time.monotonic() > self._learned_at + LEARN_WITHIN)

    async def now(self, *, learn: bool = True) -> None:
        """Drain; what that does not reach waits in the outbox, and no error ends the process."""
        try:
            await self._drain(learn=learn)
        except FactoryError as error:
            _LOG.warning("the outbox waits: %s", error)
        except Exception:
            _LOG.exception("the outbox waits")
        if learn:
            self._learned_at = time.monotonic()

    async def _wait_for_quiet(self) -> bool:
        """Whether no run is under way now: that may not be so for long."""
        until = time.monotonic() + WITHIN
        is_quiet = False
        while not is_quiet and time.monotonic() < until:
            was_busy = self._is_busy()
            await asyncio.sleep(QUIET)
            is_quiet = not was_busy and not self._is_busy()
        return is_quiet
