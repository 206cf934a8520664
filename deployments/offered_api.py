"""The Factory API that `factory up` offers: one process on the loopback, started again if it dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from deployments.kept import StackApi
from factory_runtime.domain.errors import FactoryError
from factory_runtime.settings import Settings

_LOG = logging.getLogger("factory.executor")
_LOOK_EVERY = 0.3
"""Seconds between two looks whether it lives."""


class OfferedApi:
    """Keeps it beside the dispatcher. Nothing that goes wrong here is the end of the stack.

    ``tell`` is given lines for people, and whether there will be no others.
    """

    def __init__(
        self, settings: Settings, prefect_url: str, tell: Callable[[Sequence[str], bool], None]
    ) -> None:
        self._process = StackApi(settings, prefect_url)
        self._tell = tell

    async def keep(self) -> None:
        """Start it, and start it again whenever it dies."""
        self._tell([], False)
        try:
            await self._keep()
        except (OSError, FactoryError) as error:  # a full disk, no memory, no port
            _LOG.exception("the Factory API is not offered")
            self._tell([f"no Factory API: {error}"], True)

    async def _keep(self) -> None:
        self._process.start()
        is_ready = False
        while self._process.revive():
            if self._process.ready != is_ready:
                is_ready = not is_ready
                how = self._process.url if is_ready else "starting again"
                self._tell([f"Factory API: {how}"], True)
            await asyncio.sleep(_LOOK_EVERY)
        self._tell([f"the Factory API ends again and again: see {self._process.log}"], True)

    def leave(self) -> None:
        """Have it answer what it is at, and end. From any thread."""
        self._process.leave()

    async def end(self) -> None:
        """Wait until it has ended."""
        await asyncio.to_thread(self._process.stop)
