"""One warm process, as its worker sees it."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import cast

import psutil

from deployments.warm_messages import Answer, Ended, Execute, Order, Ready, RunHooks

_LOG = logging.getLogger("factory.warm")

CHILD = "deployments.warm_child"
"""What the fork server imports and a process runs.

LanceDB must never be among what it imports: it does not survive a fork.
"""

_READY_SECONDS = 120.0
_END_SECONDS = 30.0

_one_looks = threading.Lock()
"""Who starts a process looks for the exit codes of all, and each can be read by one thread alone."""


class ProcessGoneError(Exception):
    """A warm process ended without an answer.

    Attributes:
        code: its exit code; negative for a signal, 1 where nobody knows it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the process ended with {code}")
        self.code = code


class WarmProcess:
    """What it is told to execute, it answers once; or it is gone.

    That it is gone is known by the end of its pipe. The fork server, which tells exit codes, may
    have gone before it, where somebody sends a signal to all.

    Attributes:
        runs: flow runs it was told to execute.
        alive: whether its end of the pipe is open.
        busy: whether an answer is to come.
    """

    def __init__(
        self,
        process: BaseProcess,
        connection: Connection[Order, Answer],
        tell_gone: Callable[[], None],
    ) -> None:
        self._process = process
        self._connection = connection
        self._tell_gone = tell_gone
        self._loop = asyncio.get_running_loop()
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._gone: asyncio.Task[int] | None = None
        self._loop.add_reader(connection.fileno(), self._hear)
        self.runs = 0
        self.alive = True
        self.busy = False

    @property
    def pid(self) -> int:
        return self._process.pid or 0  # it was started, so it has one

    @property
    def memory_mib(self) -> int:
        """What it holds in memory, pages shared with the fork server included; 0 once gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss) >> 20
        except psutil.NoSuchProcess:
            return 0

    def tell(self, order: Order) -> None:
        """Say something; that it is gone is for ``hear`` to say."""
        self.busy = self.busy or isinstance(order, Execute | RunHooks)
        self.runs += isinstance(order, Execute)
        with suppress(OSError):
            self._connection.send(order)

    async def hear(self) -> Ended:
        """Wait for the end of what it was told.

        Raises:
            ProcessGoneError: it ended instead.
        """
        answer = await self._next()
        while not isinstance(answer, Ended):
            answer = await self._next()
        self.busy = False
        return answer

    async def outcome(self) -> tuple[int, str | None]:
        """The exit code to tell once it has done what it was told, and what went wrong, or None."""
        try:
            ended = await self.hear()
        except ProcessGoneError as gone:
            return gone.code, str(gone)
        return 0, ended.error

    async def wait_until_ready(self) -> bool:
        """Wait until it can begin; whether the fork server had imported everything for it.

        Raises:
            ProcessGoneError: it ended instead.
            TimeoutError: it takes longer than two minutes.
        """
        async with asyncio.timeout(_READY_SECONDS):
            answer = await self._next()
        return isinstance(answer, Ready) and answer.preloaded

    def close(self) -> None:
        """Have it put down what it is at, and end."""
        if not self.alive:
            return
        self.alive = False
        with suppress(RuntimeError):  # the loop is closed: this process ends
            self._loop.remove_reader(self._connection.fileno())
            self._answers.put_nowait(None)
        self._connection.close()

    def kill(self) -> None:
        """End it now; nothing, where it is gone: its id may be another's."""
        if self.alive:
            self._process.kill()

    async def wait_until_gone(self) -> int:
        """Its exit code, once it has ended; it is killed where that takes too long."""
        if self._gone is None:  # one at a time may wait: the code can be read once
            self._gone = asyncio.create_task(self._end())
        return await asyncio.shield(self._gone)

    async def _end(self) -> int:
        code = await asyncio.to_thread(_end_of, self._process)
        if code is None:
            _LOG.warning("process %s does not end; killing it", self.pid)
            self._process.kill()
            code = await asyncio.to_thread(_end_of, self._process)
        return code or 1

    async def _next(self) -> Answer:
        answer = await self._answers.get()
        if answer is None:
            self._answers.put_nowait(None)
            raise ProcessGoneError(await self.wait_until_gone())
        return answer

    def _hear(self) -> None:
        try:
            self._answers.put_nowait(self._connection.recv())
        except (EOFError, OSError):
            self.close()
            self._tell_gone()


async def start_process(context: ForkServerContext, tell_gone: Callable[[], None]) -> WarmProcess:
    """Fork one more; it is not ready yet.

    Args:
        context: has the fork server.
        tell_gone: called when it has ended though nobody here closed it.

    Raises:
        OSError: there is no room for it.
        EOFError: the fork server ended.
    """
    # Typed for a pipe of Windows too, where there is no fork server.
    ends = cast("tuple[Connection[Order, Answer], Connection[Answer, Order]]", context.Pipe())
    ours, theirs = ends
    # Not a daemon: those may not have children of their own.
    process = context.Process(target=_serve, args=(theirs,), name="factory-warm")
    try:
        await asyncio.to_thread(_start, process)
    finally:
        theirs.close()
    return WarmProcess(process, ours, tell_gone)


def _start(process: BaseProcess) -> None:
    with _one_looks:
        process.start()


def _end_of(process: BaseProcess) -> int | None:
    """Its exit code; None where it does not end."""
    wait([process.sentinel], _END_SECONDS)
    if not _one_looks.acquire(timeout=_END_SECONDS):
        return None
    try:
        return process.exitcode
    finally:
        _one_looks.release()


def _serve(connection: Connection[Answer, Order]) -> None:
    """Runs in the process, whose fork server should have imported the module already."""
    preloaded = CHILD in sys.modules
    importlib.import_module(CHILD).main(connection, preloaded=preloaded)
