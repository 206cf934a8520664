"""The Factory API that `factory up` offers: one process on the loopback, started again if it dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from deployments.kept import StackApi
from factory_runtime.settings import Settings

_LOG = logging.getLogger("factory.executor")
_LOOK_EVERY = 0.3
"""Seconds between two looks whether it lives."""

_FIRST_REST, _LONGEST_REST = 60.0, 1800.0
"""Seconds that it is let be when it has died too often: twice as long each time."""


class OfferedApi:
    """Keeps it beside the dispatcher. Nothing that goes wrong here is the end of the stack.

    ``tell`` is given lines for people, and whether there will be no others for now.
    """

    def __init__(
        self, settings: Settings, prefect_url: str, tell: Callable[[Sequence[str], bool], None]
    ) -> None:
        self._process = StackApi(settings, prefect_url)
        self._tell = tell

    async def keep(self) -> None:
        """Start it, and start it again whenever it dies; after a rest where it dies too often."""
        self._tell([], False)
        rest = _FIRST_REST
        while True:
            begun = time.monotonic()
            why = await self._keep()
            if time.monotonic() - begun > _LONGEST_REST:  # it was well in between
                rest = _FIRST_REST
            again = datetime.now().astimezone() + timedelta(seconds=rest)
            self._tell([f"{why}; it is tried again at {again:%H:%M:%S}"], True)
            await asyncio.sleep(rest)
            rest = min(2 * rest, _LONGEST_REST)

    async def _keep(self) -> str:
        """Why there is none."""
        try:
            self._process.start_anew()
            await self._watch()
        except Exception as error:  # a full disk, no memory, no port, or nobody knows what
            _LOG.exception("the Factory API is not offered")
            return f"no Factory API: {error}"
        return f"the Factory API ends again and again: see {self._process.log}"

    async def _watch(self) -> None:
        """Keep it as long as it does not die too often."""
        is_ready = False
        while self._process.revive():
            if self._process.ready != is_ready:
                is_ready = not is_ready
                how = self._process.url if is_ready else "starting again"
                self._tell([f"Factory API: {how}"], True)
            await asyncio.sleep(_LOOK_EVERY)

    def leave(self) -> None:
        """Have it answer what it is at, and end. From any thread."""
        self._process.leave()

    async def end(self) -> None:
        """Wait until it has ended."""
        await asyncio.to_thread(self._process.stop)
