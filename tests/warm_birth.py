"""Warm workers that are born: forked, with their fork server, where all is imported already.

A worker imports for seconds, and its fork server for longer. Where that is not what a test is
about, the nursery of executors (``tests.executors``) bears them instead. Such a worker has a
process of its own that stays beside it, as its parent, to write down how it ended.

Its fork server is forked before it has any thread, and waits; where the worker would start a new
interpreter for it, it is told to begin. All else is as ``prefect worker start`` has it.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import logging
import multiprocessing.forkserver
import multiprocessing.util
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.work_types import append, lines_of

_BORN_WITHIN = 30.0
_BEGIN = "from multiprocessing.forkserver import main; "


class Born:
    """A process that the nursery bore; it is asked for the same as ``subprocess.Popen``."""

    def __init__(self, told: Path) -> None:
        self._told = told
        until = time.monotonic() + _BORN_WITHIN
        while not lines_of(told):
            assert time.monotonic() < until, "no worker was born"
            time.sleep(0.02)
        self.pid = int(lines_of(told)[0])

    def poll(self) -> int | None:
        """Its exit code; None while it lives."""
        _, *code = lines_of(self._told)
        return int(code[0]) if code else None

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if timeout is not None and until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.05)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# The nursery's side.


def import_what_workers_import() -> None:
    """Called where nothing has forked yet, or again."""
    from deployments.warm_pool import _PRELOAD  # pyright: ignore[reportPrivateUsage]

    for name in (*_PRELOAD, "prefect.cli.worker", "deployments.worker"):
        importlib.import_module(name)
    spoilt = [name for name in ("lancedb", "pyarrow") if name in sys.modules]
    assert not spoilt, f"imported before a fork: {spoilt}"


def live_beside(words: Sequence[str], environment: Mapping[str, str], log: str, told: str) -> int:
    """Bear a worker, and write down its id and, in the end, its exit code."""
    threads = psutil.Process().num_threads()
    assert threads == 1, f"{threads} threads before a fork"
    pid = os.fork()
    if pid == 0:
        _become(words, environment, log)
    append(told, str(pid))
    _, status = os.waitpid(pid, 0)
    append(told, str(os.waitstatus_to_exitcode(status)))
    return 0


def _become(words: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Be ``python -m`` with these words, in a session of its own; does not return."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    _settle_in()
    multiprocessing.util.spawnv_passfds = _starting(multiprocessing.util.spawnv_passfds)
    sys.argv[1:] = words[1:]
    os._exit(_ended(words[0]))


def _settle_in() -> None:
    """Have Prefect read its settings, and write its log, as it does where it is imported."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    logging.getLogger().handlers.clear()  # the nursery's
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    setup_logging(incremental=False)


def _ended(module: str) -> int:
    """Run a module as the interpreter does, to its very end; its exit code."""
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def _starting(spawn: Callable[..., int]) -> Callable[..., int]:
    """What starts a fork server in place of a new interpreter: one that waits already, once."""
    ours, theirs = socket.socketpair()
    waiting = [os.fork()]
    if waiting == [0]:
        ours.close()
        _serve(theirs)
    theirs.close()

    def start(path: Any, args: Sequence[Any], passed: Sequence[int]) -> int:
        if not (waiting and str(args[-1]).startswith(_BEGIN)):
            return spawn(path, args, passed)
        with ours:
            socket.send_fds(ours, [str(args[-1]).removeprefix(_BEGIN).encode()], passed)
        return waiting.pop()

    return start


def _serve(line: socket.socket) -> None:
    """Be a fork server once that is wanted; or end, where its worker has before."""
    try:
        said, files, _, _ = socket.recv_fds(line, 1 << 16, 2)
        line.close()

        def main(_listener: int, _alive: int, preload: list[str], **data: Any) -> None:
            multiprocessing.forkserver.main(files[0], files[1], preload, **data)

        exec(said, {"main": main})  # noqa: S102 - what multiprocessing would give an interpreter
    finally:
        os._exit(1)
