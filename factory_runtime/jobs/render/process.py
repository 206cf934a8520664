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
from factory_runtime.jobs.render.fork_client import ForkClient
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.trees import find_excess

_POLL = 0.05
# Looking at a large tree takes time; looking all the time would take it from the render.
_SHARE_OF_LOOKING = 0.05

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
        OSError: no child can be started.
    """
    look = _looks(out, limits, cancelled)
    with (staging / "stderr").open("wb") as errors:
        code = _run_once(request, errors, look)
        if isinstance(code, str):  # a server that ended since it was last asked
            code = _run_once(request, errors, look)
    if isinstance(code, str):
        raise OSError(errno.EAGAIN, code)
    return code


def _run_once(request: IO[bytes], errors: IO[bytes], look: Callable[[], None]) -> int | str:
    """Its exit code, or why there was no child."""
    server, line = _forks.ask(request, errors)
    begun, said = False, ""
    with line:
        line.settimeout(_POLL)
        try:
            if begun := _hear(line, 1, look) != b"":
                return int(_hear(line, 8, look) or -signal.SIGKILL)
        finally:
            if not begun:
                said = _forks.give_up(server)
            _await_end(line)
    return said


def _hear(line: socket.socket, size: int, look: Callable[[], None]) -> bytes:
    """What comes on the line, or nothing at its end; looks about twenty times a second."""
    while True:
        look()
        try:
            return line.recv(size)
        except TimeoutError:
            continue


def _await_end(line: socket.socket) -> None:
    """Have the child killed, unless it is gone, and wait until it is."""
    with suppress(OSError):
        line.shutdown(socket.SHUT_WR)
    line.settimeout(None)
    while line.recv(8):
        pass


def _looks(out: Path, limits: RenderLimits, cancelled: Callable[[], bool]) -> Callable[[], None]:
    """What raises when the child is to be stopped."""
    started = next_look = time.monotonic()

    def look() -> None:
        nonlocal next_look
        if cancelled():
            raise CancelledError("the render was stopped because its run is to stop")
        now = time.monotonic()
        if now - started > limits.wall.total_seconds():
            raise limits.exceeded("wall")
        if now >= next_look:
            if excess := find_excess(out, limits):
                raise limits.exceeded(excess)
            next_look = now + (time.monotonic() - now) / _SHARE_OF_LOOKING

    return look
