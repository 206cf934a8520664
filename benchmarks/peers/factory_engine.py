"""The fan-out in Factory Runtime, in one process that has all imported, for its throughput.

How it comes through a kill is measured on its own processes: ``factory_killed``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.fan_out import WIDTH, our_fan
from benchmarks.local_server import local_server
from benchmarks.peers.fan_out import Tool

PACKAGE = "factory-runtime"


class _Factory:
    def __init__(self, fan: Callable[[], Awaitable[Any]], runner: asyncio.Runner) -> None:
        self._fan = fan
        self._runner = runner

    def run(self) -> int:
        self._runner.run(_awaited(self._fan()))  # ends the process where the run does not succeed
        return WIDTH

    def recover(self) -> int:
        raise NotImplementedError("its own executor does that")


async def _awaited(work: Awaitable[Any]) -> None:
    await work


@contextmanager
def opened(folder: Path, url: str | None) -> Generator[Tool]:
    """The engine with a Prefect server; ``url`` None is its default store, a SQLite file."""
    del folder
    logging.disable(logging.WARNING)
    with local_server() as settings, asyncio.Runner() as runner:
        settings = settings.model_copy(update={"database_url": url})
        yield _Factory(our_fan(settings), runner)
