"""A gate that lets so many in at once: of those who wait the first by rank, then by arrival."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count


class Gate:
    """Like a semaphore, for the tasks of one event loop, with an order."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[tuple[int, ...], int, asyncio.Future[None]]] = []
        self._numbers = count()

    async def enter(self, *rank: int) -> None:
        """Wait to be let in; the lowest rank comes first, compared number by number."""
        let_in = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._numbers), let_in))
        # Not at once: of all that come in the same turn of the loop, the first by rank goes first.
        asyncio.get_running_loop().call_soon(self._let_in)
        try:
            await let_in
        except asyncio.CancelledError:
            if let_in.done() and not let_in.cancelled():
                self.leave()  # it was let in while it was cancelled
            raise

    def leave(self) -> None:
        """Give the place to the next."""
        self._free += 1
        self._let_in()

    @asynccontextmanager
    async def inside(self, *rank: int) -> AsyncGenerator[None]:
        """Enter, and leave at the end."""
        await self.enter(*rank)
        try:
            yield
        finally:
            self.leave()

    def _let_in(self) -> None:
        while self._free and self._waiting:
            _, _, let_in = heappop(self._waiting)
            if not let_in.done():
                self._free -= 1
                let_in.set_result(None)
