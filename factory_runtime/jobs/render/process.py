"""One child process: started, watched, and gone when this is done, whatever happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from factory_runtime.domain.errors import CancelledError
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.trees import find_excess

_POLL = 0.05
# Looking at a large tree takes time; looking all the time would take it from the render.
_SHARE_OF_LOOKING = 0.05


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
    """
    home = staging / "home"
    home.mkdir()
    environment = {
        # Nothing is found in an empty folder: neither programs nor somebody's settings.
        "HOME": str(home),
        "PATH": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "ignore",
    }
    with (staging / "stderr").open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", "factory_runtime.jobs.render.child"],
            stdin=request,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
            cwd=staging,
            start_new_session=True,
        )
        try:
            return _watch(child, out, limits, cancelled)
        finally:
            _end(child)


def _watch(
    child: subprocess.Popen[bytes], out: Path, limits: RenderLimits, cancelled: Callable[[], bool]
) -> int:
    started = time.monotonic()
    next_look = started
    while True:
        try:
            return child.wait(_POLL)
        except subprocess.TimeoutExpired:
            pass
        if cancelled():
            raise CancelledError("the render was stopped because its run is to stop")
        now = time.monotonic()
        if now - started > limits.wall.total_seconds():
            raise limits.exceeded("wall")
        if now >= next_look:
            if excess := find_excess(out, limits):
                raise limits.exceeded(excess)
            next_look = now + (time.monotonic() - now) / _SHARE_OF_LOOKING


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child's whole session, unless it is gone, and wait until it is."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
