"""How many requests of one tenant a process is at, and how many searches: the rest is the others'."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from factory_runtime.domain.errors import LimitReachedError


class Turns:
    """Lets so many requests of a tenant through, and the others wait, in no thread, for their turn.

    Args:
        of_tenant: at once. A process has forty threads for requests, and by default thirty
            connections: a tenant whose every request takes long leaves half of them.
        seconds: that one waits.
    """

    def __init__(self, of_tenant: int = 20, seconds: float = 10.0) -> None:
        self._of_tenant = of_tenant
        self._seconds = seconds
        self._turns = dict[str, asyncio.Semaphore]()
        self._here = Counter[str]()

    @asynccontextmanager
    async def turn(self, tenant_id: str) -> AsyncGenerator[None]:
        """A turn of this tenant's.

        Raises:
            LimitReachedError: none was free for too long.
        """
        self._here[tenant_id] += 1
        turn = self._turns.setdefault(tenant_id, asyncio.Semaphore(self._of_tenant))
        try:
            await self._wait_for(turn)
            try:
                yield
            finally:
                turn.release()
        finally:
            self._here[tenant_id] -= 1
            if not self._here[tenant_id]:  # nobody is left who knows of it
                del self._here[tenant_id], self._turns[tenant_id]

    async def _wait_for(self, turn: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await turn.acquire()
        except TimeoutError as exc:
            raise LimitReachedError(
                f"{self._of_tenant} requests like this are under way here, and take long",
                retry_after=timedelta(seconds=1),
            ) from exc


class SearchTurns:
    """Turns of those that search the memory, beside all others: a model may take half a minute.

    Args:
        of_tenant: at once.
        of_all: at once, of all tenants together.
        seconds: that one waits for each of the two.
    """

    def __init__(self, of_tenant: int = 6, of_all: int = 12, seconds: float = 10.0) -> None:
        self._of_tenant = Turns(of_tenant, seconds)
        self._of_all = Turns(of_all, seconds)

    @asynccontextmanager
    async def turn(self, tenant_id: str) -> AsyncGenerator[None]:
        """A turn of this tenant's.

        Raises:
            LimitReachedError: none was free for too long.
        """
        async with self._of_tenant.turn(tenant_id), self._of_all.turn(_ALL):
            yield


_ALL = ""
