"""Do what nobody waits for when it disturbs no run of this process, or after a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from factory_runtime.domain.errors import FactoryError

_LOG = logging.getLogger("factory.dispatcher")

QUIET = 0.25
"""Seconds without a run after which none is taken to be under way: the next may follow at once."""

_LOOK = 0.1


class Quietly:
    """Work that is done when somebody asks for it; those who ask meanwhile are served together.

    Args:
        quiet_for: for how many seconds no run has been under way: it would share Python's lock with
            the work.
        work: idempotent; what it does not reach is done by the next.
        within: seconds that it waits, about, for a moment without a run.
        left: what is said to be left where the work fails.
    """

    def __init__(
        self,
        quiet_for: Callable[[], float],
        work: Callable[[], Awaitable[object]],
        within: float,
        left: str,
    ) -> None:
        self._quiet_for = quiet_for
        self._work = work
        self._within = within
        self._left = left
        self._asked = asyncio.Event()
        self._under_way: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Have it done soon."""
        self._asked.set()

    async def serve(self) -> None:
        """Work for all who ask, until it is cancelled; what is under way then goes on."""
        while True:
            await self._asked.wait()
            until = time.monotonic() + self._within
            while self._quiet_for() < QUIET and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_LOOK)
            await asyncio.shield(self._begin())

    async def end(self) -> None:
        """Wait for what is under way, and do what was asked for since."""
        if self._under_way is not None:
            await asyncio.shield(self._under_way)
        if self._asked.is_set():
            await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        self._asked.clear()
        self._under_way = asyncio.create_task(self._do())
        return self._under_way

    async def _do(self) -> None:
        try:
            await self._work()
        except FactoryError as error:
            _LOG.warning("%s: %s", self._left, error)
        except Exception:
            _LOG.exception(self._left)
