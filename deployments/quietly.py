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


class Quietly:
    """Work that is done when somebody asks for it; those who ask meanwhile are served together.

    Args:
        is_busy: whether a run is under way: it shares Python's lock with the work.
        work: idempotent; what it does not reach is done by the next.
        within: seconds that it waits, about, for a moment without a run.
    """

    def __init__(
        self, is_busy: Callable[[], bool], work: Callable[[], Awaitable[object]], within: float
    ) -> None:
        self._is_busy = is_busy
        self._work = work
        self._within = within
        self._asked = asyncio.Event()
        self._under_way: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Have it done soon."""
        self._asked.set()

    async def serve(self) -> None:
        """Work for all who ask, until it is cancelled; what is under way then goes on."""
        while True:
            await self._asked.wait()
            await self._until_quiet()
            self._asked.clear()
            await asyncio.shield(self._begin())

    async def end(self) -> None:
        """Wait for what is under way, and work once more: nothing that was asked for is left."""
        if self._under_way is not None:
            await self._under_way
        await self._begin()

    def _begin(self) -> asyncio.Task[None]:
        self._under_way = asyncio.create_task(self._do())
        return self._under_way

    async def _do(self) -> None:
        try:
            await self._work()
        except FactoryError as error:
            _LOG.warning("the outbox waits: %s", error)
        except Exception:
            _LOG.exception("the outbox waits")

    async def _until_quiet(self) -> None:
        until = time.monotonic() + self._within
        is_quiet = False
        while not is_quiet and time.monotonic() < until:
            was_busy = self._is_busy()
            await asyncio.sleep(QUIET)
            is_quiet = not was_busy and not self._is_busy()
