"""A pool of warm processes, forked from a server that has imported everything."""

from __future__ import annotations

import asyncio
import atexit
import logging
import multiprocessing
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

from deployments.warm_messages import Hooks, RunHooks
from deployments.warm_process import (
    CHILD,
    ProcessGoneError,
    WarmProcess,
    start_process,
)

_LOG = logging.getLogger("factory.warm")

_START_AGAIN_SECONDS = 1.0
_START_AGAIN_AT_MOST = 30.0
_HOOKS_SECONDS = 120.0

_PRELOAD = (
    CHILD,
    "prefect.cli",  # ``prefect worker start``: a process imports again what its parent began with
    "factory_runtime.compiler.plan",
    "factory_runtime.jobs.registry",
    "factory_runtime.run_store.store",
    "alembic.command",
    "detect_secrets",
)
"""What the fork server imports, so that no process has to."""

_NOT_STARTED = (ProcessGoneError, OSError, EOFError, TimeoutError)


class WarmPool:
    """Keeps so many processes ready, and tells of each that is. Use from one event loop."""

    def __init__(self, size: int, tell: Callable[[], None] = lambda: None) -> None:
        self._size = size
        self._tell = tell
        self._all: set[WarmProcess] = set()
        self._unready: set[WarmProcess] = set()
        self._idle: list[WarmProcess] = []
        self._coming = 0
        self._pause = 0.0
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._beside: set[asyncio.Task[None]] = set()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*_PRELOAD])

    @property
    def is_warm(self) -> bool:
        """Whether any process lives that could begin a flow run, or is at one."""
        return any(process.alive for process in self._all)

    def open(self) -> None:
        """Begin to start the processes."""
        # Otherwise this process waits, at its exit, for theirs, and they for the end of the pipe.
        atexit.register(self._cut)
        self._fill()

    async def borrow(self) -> WarmProcess:
        """An idle process, as soon as there is one."""
        async with self._changed:
            while (process := self._pop_idle()) is None:
                await self._changed.wait()
        return process

    async def give_back(
        self, process: WarmProcess, max_runs: int = sys.maxsize, memory_limit_mib: int = sys.maxsize
    ) -> None:
        """Keep it for the next; or end it, where it has had its time or is one too many."""
        usable = process.alive and not process.busy and not self._closing.is_set()
        worn = process.runs >= max_runs or process.memory_mib > memory_limit_mib
        if usable and not worn and len(self._all) <= self._size:
            await self._keep(process)
        else:
            self._drop(process)

    async def run_hooks(self, flow_run_id: UUID, hooks: Hooks) -> None:
        """Run them in a process that is idle, or in one more: they wait for no flow run's end."""
        try:
            process = self._pop_idle() or await self._started()
        except _NOT_STARTED as error:
            _LOG.warning("hooks of flow run %s did not run: %r", flow_run_id, error)
            return
        try:
            process.tell(RunHooks(flow_run_id, hooks))
            async with asyncio.timeout(_HOOKS_SECONDS):
                _, error = await process.outcome()
            if error is not None:
                _LOG.warning("hooks of flow run %s did not run: %s", flow_run_id, error)
        except TimeoutError:
            _LOG.warning("hooks of flow run %s do not end; killing their process", flow_run_id)
            process.kill()
        finally:
            await asyncio.shield(self.give_back(process))

    async def close(self) -> None:
        """End all processes; what they are at is put down."""
        self._closing.set()
        self._cut()
        atexit.unregister(self._cut)
        for process in tuple(self._all):
            self._drop(process)
        while self._beside:
            await asyncio.gather(*self._beside, return_exceptions=True)

    def _cut(self) -> None:
        for process in (*self._all, *self._unready):
            process.close()

    def _pop_idle(self) -> WarmProcess | None:
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            self._drop(process)
        return None

    def _replace_dead(self) -> None:
        """Nobody borrows while none lives, so that nobody would come upon the last ones.

        Those that end before they were of any use, as where memory is short, are replaced ever later.
        """
        dead = [process for process in self._idle if not process.alive]
        self._idle = [process for process in self._idle if process.alive]
        for process in dead:
            _LOG.warning("warm process %s ended while it had nothing to do", process.pid)
            self._pause = 0.0 if process.runs else _longer(self._pause)
            self._drop(process)

    async def _keep(self, process: WarmProcess) -> None:
        async with self._changed:
            self._idle.append(process)
            self._changed.notify_all()  # who is told may have given up in this moment

    def _drop(self, process: WarmProcess) -> None:
        process.close()
        self._all.discard(process)
        self._do(process.wait_until_gone)
        self._fill()

    def _fill(self) -> None:
        while not self._closing.is_set() and len(self._all) + self._coming < self._size:
            self._coming += 1
            self._do(self._add)

    def _do(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        async def done() -> None:
            await work()

        task = asyncio.create_task(done())
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _add(self) -> None:
        try:
            await self._wait(self._pause)
            process = await self._started_at_last()
        finally:
            self._coming -= 1
        if process is None:
            return
        if self._closing.is_set():
            self._drop(process)
            return
        await self._keep(process)
        self._tell()

    async def _started_at_last(self) -> WarmProcess | None:
        """A process, however often it has to be tried; None where the pool is closed first."""
        pause = 0.0
        while not self._closing.is_set():
            try:
                return await self._started()
            except Exception as error:  # whatever it is: without one, what is claimed never begins
                if self._closing.is_set():
                    break
                _LOG.warning("no warm process could be started, trying again: %r", error)
            pause = _longer(pause)
            await self._wait(pause)
        return None

    async def _wait(self, seconds: float) -> None:
        """Wait, but no longer than until the pool is closed."""
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)

    async def _started(self) -> WarmProcess:
        process = await start_process(self._context, self._replace_dead)
        if self._closing.is_set():
            process.close()  # it came too late to be among those that were
        self._unready.add(process)
        try:
            preloaded = await process.wait_until_ready()
            if not process.alive:
                raise ProcessGoneError(await process.wait_until_gone())
        except BaseException:
            process.kill()
            process.close()
            self._do(process.wait_until_gone)
            raise
        finally:
            self._unready.discard(process)
        if not preloaded:
            _LOG.warning("the fork server cannot import %s: processes start slowly", CHILD)
        self._all.add(process)
        return process


def _longer(pause: float) -> float:
    """The next pause before a start."""
    return min(max(2 * pause, _START_AGAIN_SECONDS), _START_AGAIN_AT_MOST)
