"""The child: limits itself, renders every layer into one folder, writes its answer, and ends.

Forked by the fork server with nothing but a request on standard input. Everything here and in what
it imports runs beside hostile templates.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from factory_runtime.jobs.render.boxed import Budget, boxed_worker, harden
from factory_runtime.jobs.render.explain import explain
from factory_runtime.jobs.render.guard import Guard

if TYPE_CHECKING:
    from factory_runtime.jobs.render.request import RenderProblem, RenderReply, RenderRequest

_PR_SET_PDEATHSIG = 1
_OPEN_FILES = 64


def answer(keeper: int) -> None:
    """Read the request, render, answer; ``keeper`` is the process that waits for this one."""
    _die_with(keeper)
    request: RenderRequest = json.load(sys.stdin)
    _settle(Path(request["staging"]))
    _limit(request)
    problem = _render(request)
    reply: RenderReply = {"peak_memory_bytes": _peak_memory(), "cpu_seconds": _cpu_seconds()}
    if problem is not None:
        reply["problem"] = problem
    Path(request["reply"]).write_text(json.dumps(reply), encoding="utf-8")


def _die_with(parent: int) -> None:
    """End when the parent does, however it ends; Linux alone knows how."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def _settle(staging: Path) -> None:
    """Nothing is found in an empty folder: neither programs nor somebody's settings."""
    os.chdir(staging)
    home = staging / "home"
    home.mkdir()
    os.environ.update(dict.fromkeys(("HOME", "PATH", "TMPDIR"), str(home)))


def _limit(request: RenderRequest) -> None:
    limits = {
        resource.RLIMIT_AS: request["memory"],
        resource.RLIMIT_CPU: request["cpu"],
        resource.RLIMIT_FSIZE: request["file"],
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        # At the hard limit of CPU time comes SIGKILL, which says less than SIGXCPU before it.
        hard = most + 1 if kind == resource.RLIMIT_CPU else most
        # A hard limit that is lower already stays; some systems know no limit of memory.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, hard))


def _render(request: RenderRequest) -> RenderProblem | None:
    harden()
    out = Path(request["out"])
    budget = Budget(out, request["size"], request["files"])
    guard = Guard(reads=[Path(request["staging"])], writes=[out, Path(request["reply"])])
    guard.install()
    for layer in request["layers"]:
        try:
            boxed_worker(layer, out, budget).run_copy()
        except Exception as error:  # every way to fail is an answer
            return explain(guard.escape or error, layer, out)
        if guard.escape is not None:
            return explain(guard.escape, layer, out)
    return None


def _peak_memory() -> int:
    """Bytes of this process alone: what ``getrusage`` says begins with the parent's own peak."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
