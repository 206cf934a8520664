"""One child: asked of the fork server, watched, and gone when this is done, whatever happened."""

from __future__ import annotations

import errno
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from factory_runtime.domain.errors import CancelledError
from factory_runtime.jobs.render.fork_client import ForkClient, ForkServer
from factory_runtime.jobs.render.fork_server import BEGUN, NONE_TO_BE_HAD
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.trees import find_excess

_POLL = 0.05
# Looking at a large tree takes time; looking all the time would take it from the render.
_SHARE_OF_LOOKING = 0.05
_TRIES = 3
"""A server may have ended since it was last asked, or be given up by another render."""
_PATIENCE = 5.0
"""Seconds for a server to hear that nobody wants a child any more."""

_forks = ForkClient()


def run_child(
    request: IO[bytes],
    staging: Path,
    out: Path,
    limits: RenderLimits,
    cancelled: Callable[[], bool],
) -> int:
    """Run the child to its end; its exit code, negative for a signal.

    Raises:
        CancelledError: ``cancelled`` said so.
        RenderLimitError: it took too long, or left too much.
        OSError: no child can be had.
    """
    said = ""
    with (staging / "stderr").open("wb") as errors:
        for _ in range(_TRIES):
            server, line = _forks.ask(request, errors)
            begun = False
            with line:
                line.settimeout(_POLL)
                try:
                    if begun := _await_begin(line, server, limits, cancelled):
                        look = _looks(out, limits, cancelled)
                        return int(_hear(line, 8, look) or -signal.SIGKILL)
                    said = _forks.give_up(server)
                finally:
                    _await_end(line, server, begun)
    raise OSError(errno.EAGAIN, said)


def _await_begin(
    line: socket.socket, server: ForkServer, limits: RenderLimits, cancelled: Callable[[], bool]
) -> bool:
    """Whether the server has taken it up; not where it has ended."""
    deadline = time.monotonic() + limits.wall.total_seconds()

    def look() -> None:
        _refuse_cancelled(cancelled)
        if time.monotonic() > deadline:
            _forks.give_up(server)
            raise OSError(errno.EAGAIN, "what forks them does not answer")

    return _hear(line, 1, look) == BEGUN


def _hear(line: socket.socket, size: int, look: Callable[[], None]) -> bytes:
    """What comes on the line, or nothing at its end; looks about twenty times a second."""
    while True:
        look()
        try:
            told = line.recv(size)
        except TimeoutError:
            continue
        if told == NONE_TO_BE_HAD:
            raise OSError(errno.EAGAIN, "no process is to be had")
        return told


def _await_end(line: socket.socket, server: ForkServer, begun: bool) -> None:
    """Have the child killed, unless it is gone, and wait until it is."""
    with suppress(OSError):
        line.shutdown(socket.SHUT_WR)
    line.settimeout(None if begun else _PATIENCE)
    try:
        _read_out(line)
    except TimeoutError:
        _forks.give_up(server)
        line.settimeout(None)
        _read_out(line)


def _read_out(line: socket.socket) -> None:
    while line.recv(8):
        pass


def _looks(out: Path, limits: RenderLimits, cancelled: Callable[[], bool]) -> Callable[[], None]:
    """What raises when the child is to be stopped."""
    started = next_look = time.monotonic()

    def look() -> None:
        nonlocal next_look
        _refuse_cancelled(cancelled)
        now = time.monotonic()
        if now - started > limits.wall.total_seconds():
            raise limits.exceeded("wall")
        if now >= next_look:
            if excess := find_excess(out, limits):
                raise limits.exceeded(excess)
            next_look = now + (time.monotonic() - now) / _SHARE_OF_LOOKING

    return look


def _refuse_cancelled(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CancelledError("the render was stopped because its run is to stop")
