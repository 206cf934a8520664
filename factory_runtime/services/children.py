"""Programs that a job type starts, none of which outlives the attempt.

The kernel ends a process with its parent only if the parent's *thread* that started it goes, and
attempts run on threads of a pool. So a second process, the guard, holds one end of a pipe from this
one. However this one dies, the pipe ends, and the guard kills what was started and then itself.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from factory_runtime.domain.errors import CancelledError, TransientError

if TYPE_CHECKING:
    import psutil

PATIENCE = timedelta(seconds=10)
"""How long a killed process may take to be gone: it may have to free a lot of memory."""

MARK = "FACTORY_CHILD_OF"
"""The variable in the environment of each child, and so of what it starts."""

_MODULE = "factory_runtime.services.children"
_READY = b"ready\n"
_LOOK_AGAIN = 0.02
# A child carries the mark once it has become its program, and lets go of the pipe just before.
_SETTLED = 0.25


class Children:
    """The programs of one attempt, each in a session of its own. Safe to use from many threads.

    Whatever a child starts is found by the session it is in, by the processes above it, and by a
    mark in its environment, which also daemons keep. Not found is a process that left the session,
    cleared its environment *and* lost its parent, nor a child that cleared its environment before
    this process was killed within the same millisecond; not killed is one of another user.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = False
        self._kin = Kin(os.urandom(16).hex())
        self._started: list[subprocess.Popen[bytes]] = []
        self._guard: subprocess.Popen[bytes] | None = None

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program; its standard input is empty where none is given.

        ``env`` is its whole environment but for the mark; None is this process's own.

        Raises:
            CancelledError: all were killed already.
            OSError: there is no such program, or it cannot be started.
            TransientError: it cannot be guarded.
        """
        with self._lock:
            if self._over:
                raise CancelledError(f"{arguments[0]} was not started: its job is to stop")
            if self._guard is None or self._guard.poll() is not None:
                self._renew_guard()
            child = subprocess.Popen(  # noqa: S603 - what the job type asks for, without a shell
                list(arguments),
                cwd=cwd,
                env={**(os.environ if env is None else env), MARK: self._kin.mark},
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            self._started.append(child)
            # At once: until the guard has heard of it, only the mark tells whose it is.
            self._tell_guard(child.pid)
            self._kin.add_session(child.pid)
            return child

    def kill_all(self) -> None:
        """Kill every child and what it started; when this returns they are gone.

        None can be started any more. Repeating it is harmless.
        """
        self._over = True
        with self._lock:
            if self._started:
                self._kin.kill(PATIENCE)
            for child in self._started:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=1)
            self._started.clear()
            self._end_guard()

    def _renew_guard(self) -> None:
        """Have a guard that knows all children; the one before is gone, or there was none."""
        self._end_guard()
        guard = subprocess.Popen(  # noqa: S603 - this very module
            [sys.executable, "-P", "-s", "-m", _MODULE, self._kin.mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # what ends our group or terminal must not end it first
        )
        self._guard = guard
        with cast(IO[bytes], guard.stdout) as said:
            if said.readline() != _READY:
                raise TransientError("no program can be started: its guard ended at once")
        for child in self._started:
            self._write(child.pid)

    def _tell_guard(self, pid: int) -> None:
        try:
            self._write(pid)
        except BrokenPipeError:
            self._renew_guard()

    def _write(self, pid: int) -> None:
        pipe = cast(IO[bytes], cast("subprocess.Popen[bytes]", self._guard).stdin)
        pipe.write(b"%d\n" % pid)
        pipe.flush()

    def _end_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.wait()
            with suppress(BrokenPipeError):
                cast(IO[bytes], guard.stdin).close()


class Kin:
    """All processes that come of some children, wherever they are now.

    Args:
        mark: what the children have in their environment.
    """

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self._leaders: dict[int, psutil.Process | None] = {}

    def add_session(self, leader: int) -> None:
        """Take the session of this process in; say so while it cannot be another's."""
        import psutil

        try:
            self._leaders[leader] = psutil.Process(leader)
        except psutil.NoSuchProcess:  # it ended; what it started may still be in its session
            self._leaders[leader] = None

    def find(self) -> list[psutil.Process]:
        """Those that live; a process that only waits to be reaped does not."""
        import psutil

        sessions = {pid for pid, leader in self._leaders.items() if _is_its_own(pid, leader)}
        below: defaultdict[int, list[psutil.Process]] = defaultdict(list)
        found: dict[int, psutil.Process] = {}
        for pid in psutil.pids():
            with suppress(psutil.Error, OSError):  # it ended meanwhile
                process = psutil.Process(pid)
                with process.oneshot():
                    if process.status() == psutil.STATUS_ZOMBIE:
                        continue
                    below[process.ppid()].append(process)
                if os.getsid(pid) in sessions or process.environ().get(MARK) == self.mark:
                    found[pid] = process
        above = list(found)
        while above:
            for process in below[above.pop()]:
                if process.pid not in found:
                    found[process.pid] = process
                    above.append(process.pid)
        return list(found.values())

    def kill(self, patience: timedelta) -> None:
        """Kill all there are, and those that these start meanwhile, until none is left."""
        import psutil

        give_up = time.monotonic() + patience.total_seconds()
        while (found := self.find()) and time.monotonic() < give_up:
            for process in found:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(_LOOK_AGAIN)


def _is_its_own(pid: int, leader: psutil.Process | None) -> bool:
    """Whether the id still names the session that it named: an id is free once nobody is in it."""
    import psutil

    return (leader is not None and leader.is_running()) or not psutil.pid_exists(pid)


def keep_guard(mark: str) -> None:
    """Be the guard: read the ids of children until the pipe from their parent ends; kill them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with what it guards
    importlib.import_module("psutil")  # what could fail does so before anybody relies on this
    kin = Kin(mark)
    os.write(sys.stdout.fileno(), _READY)
    for line in sys.stdin.buffer:
        kin.add_session(int(line))
    kin.kill(PATIENCE)
    time.sleep(_SETTLED)
    kin.kill(PATIENCE)


if __name__ == "__main__":
    keep_guard(sys.argv[1])
