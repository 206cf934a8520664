"""`factory …` as a process of its own that has nothing left to import.

``python -m tests.warm_cli`` is a nursery: it imports once what takes every command so long, and
forks one process for each that is typed. Tests run the launcher, ``nursery().factory``, where
a person runs `factory`: it hands over its arguments, environment, folder and standard streams,
passes signals on, and ends as the command ended. If it is killed, so is the command.

A command cannot tell the difference but for limits (``ulimit``), its process group, which is not
the launcher's, and what /proc says of its command line. What tests start-up itself, or what a
terminal does to a whole group, runs the real one.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TextIO, cast

_ROOT = Path(__file__).parents[1]
_PATIENCE = 30.0


class Nursery:
    """The process that commands come from. It ends with this one, and its commands with it.

    Attributes:
        factory: the launcher; a program called `factory`, alone in its folder.
        pid: of the nursery.
    """

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="warm-"))
        self.factory = folder / "bin" / "factory"
        self.factory.parent.mkdir()
        launch = [sys.executable, "-IS", str(_ROOT / "tests" / "launch_cli.py"), str(folder)]
        self.factory.write_text(f'#!/bin/sh\nexec {shlex.join(launch)} "$@"\n')
        self.factory.chmod(0o700)
        with (
            socket.socket(socket.AF_UNIX) as listener,
            (folder / "log").open("wb") as log,
        ):
            # Ours to open, so that a command typed while the nursery still imports waits for it.
            listener.bind(str(folder / "socket"))
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_cli", str(listener.fileno()), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                # OpenBLAS would start its threads when numpy is imported.
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
                cwd=_ROOT,
                pass_fds=[listener.fileno()],
            )
        self.pid = self._process.pid

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE)


@cache
def nursery() -> Nursery:
    """This process's own, started by the first call."""
    started = Nursery()
    atexit.register(started.close)
    return started


# The nursery's side.

_PACKAGES = (
    "cli",
    "deployments.prove.proof",
    "deployments.stack",
    "factory_runtime.bootstrap",
    "factory_runtime.compiler",
    "factory_runtime.hosts",
    "factory_runtime.jobs",
    "factory_runtime.memory",
    "factory_runtime.run_store",
    "factory_runtime.services",
)
_LIBRARIES = (
    "jsonschema",
    "lance_namespace",  # nearly all that takes LanceDB so long
    "numpy",
    "psutil",
    "sqlalchemy.dialects.sqlite",
)
_NEVER = ("lancedb", "prefect", "pyarrow")
"""LanceDB and pyarrow start threads, which do not live on behind a fork. Prefect reads the
environment when it is imported."""


def _import_what_commands_import() -> None:
    for name in _PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
            if ".migrations" not in module.name:
                importlib.import_module(module.name)
    for name in _LIBRARIES:
        importlib.import_module(name)
    from cli.main import commands

    commands()


def check_that_forking_is_safe() -> None:
    """Nothing that does not live on behind a fork is there yet.

    Raises:
        AssertionError: a thread is, or a library that must not be.
    """
    spoilt = [name for name in _NEVER if name in sys.modules]
    assert not spoilt, f"imported before a fork: {spoilt}"
    threads = threading.enumerate()
    assert len(threads) == 1, f"threads before a fork: {threads}"
    tasks = Path("/proc/self/task")
    if tasks.is_dir():
        names = [(task / "comm").read_text() for task in tasks.iterdir()]
        assert len(names) == 1, f"threads of libraries before a fork: {names}"


def _ring(_number: int, _frame: FrameType | None) -> None:
    """Python itself writes to the bell, but only for a signal that has a handler."""


class _Commands:
    """Those that live, by process id, each with the line to its launcher."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._lines: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._bell, ring = os.pipe()
        os.set_blocking(ring, False)
        signal.set_wakeup_fd(ring)
        signal.signal(signal.SIGCHLD, _ring)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for the commands
        for readable in (sys.stdin, self._bell, listener):
            self._poll.register(readable, select.POLLIN)

    def fork_each(self) -> socket.socket | None:
        """Come back in each new process, with its line; in the nursery, at its end with None."""
        while True:
            # The first alone: what it leads to may close another's number, and open it anew.
            number, _ = self._poll.poll()[0]
            if number == sys.stdin.fileno():
                self._kill(lambda _: True)
                return None
            if number == self._bell:
                os.read(self._bell, 4096)
                self._bury()
            elif number == self._listener.fileno():
                line, _ = self._listener.accept()
                if (pid := os.fork()) == 0:
                    self._forget()
                    return line
                self._lines[pid] = line
                self._poll.register(line, 0)  # tells when the other end is gone
            else:
                self._poll.unregister(number)
                self._kill(lambda line, number=number: line.fileno() == number)

    def _bury(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                with self._lines.pop(pid) as line, suppress(OSError):
                    with suppress(KeyError):
                        self._poll.unregister(line)
                    line.sendall(f"code {os.waitstatus_to_exitcode(status)}\n".encode())

    def _kill(self, chosen: Callable[[socket.socket], bool]) -> None:
        for pid, line in self._lines.items():
            if chosen(line):
                os.kill(pid, signal.SIGKILL)  # not buried yet, so the id is still its own

    def _forget(self) -> None:
        """In a new process: what is the nursery's alone."""
        ring = signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for line in (self._listener, *self._lines.values()):
            line.close()
        os.close(ring)
        os.close(self._bell)


def _become_what_was_typed(line: socket.socket) -> None:
    """Take over the arguments, environment, folder and standard streams of a launcher."""
    with line:
        said, streams, _, _ = socket.recv_fds(line, 1 << 16, 3)
        while not said.endswith(b"\n"):
            more = line.recv(1 << 16)
            if not more:
                raise SystemExit("the launcher was killed before it had said what to do")
            said += more
        order = json.loads(said)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(order["environment"])
        time.tzset()
        tempfile.tempdir = None
        os.chdir(order["folder"])
        if order["leads_session"]:
            os.setsid()
        sys.argv[:] = ["factory", *order["words"]]
        sys.stdin = _stream(sys.stdin, "r")
        sys.stdout = _stream(sys.stdout, "w")
        sys.stderr = _stream(sys.stderr, "w")
        # From now on it can be sent signals.
        line.sendall(f"pid {os.getpid()}\n".encode())


def _stream(like: TextIO, mode: str) -> TextIO:
    """A standard stream as Python opens it where it leads to now."""
    return cast(
        TextIO,
        open(
            like.fileno(),
            mode,
            buffering=1 if like is sys.stderr else -1,
            encoding=like.encoding,
            errors=like.errors,
            newline="\n",
            closefd=False,
        ),
    )


def main() -> int:
    """Be the nursery; in each process that it forks, one command."""
    listener, folder = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    gc.disable()
    _import_what_commands_import()
    check_that_forking_is_safe()
    gc.freeze()  # or collecting in a command copies the memory of the nursery
    gc.enable()
    line = _Commands(listener).fork_each()
    if line is None:
        shutil.rmtree(folder)
        return 0
    _become_what_was_typed(line)
    from cli.main import main as factory

    return factory()


if __name__ == "__main__":
    sys.exit(main())
