"""Processes that write to the local git host, each alone. Made to be killed, or to find no room."""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO

from factory_runtime.domain.errors import PermanentError, StorageFullError
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts import local
from factory_runtime.hosts.fast_import import FastImport
from factory_runtime.hosts.local import LocalGitHost
from factory_runtime.ports import Commit, CommitOrder, Repository
from tests.fork_server import fork_server


class Writer:
    """A function at work in a process and a session of its own; it has begun."""

    def __init__(self, work: Callable[..., None], *arguments: str) -> None:
        context = fork_server()
        said, says = context.Pipe(duplex=False)
        self.process = context.Process(target=_main, args=(work, arguments, says), daemon=True)
        self.process.start()
        says.close()
        self.pid = self.process.pid or 0  # it was started, so it has one
        self._said = os.fdopen(os.dup(said.fileno()))
        said.close()
        assert self.hear() == "go"

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.join()
        self._said.close()

    def hear(self) -> str:
        """The next line that it has to say."""
        return self._said.readline().rstrip("\n")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def ended(self) -> tuple[int | None, str]:
        """Its exit code, and all that it and its children had to say, once they have ended."""
        rest = self._said.read()
        self.process.join()
        return self.process.exitcode, rest


def _main(work: Callable[..., None], arguments: tuple[str, ...], says: Connection) -> None:
    os.setsid()
    for number in (1, 2):
        os.dup2(says.fileno(), number)
    says.close()
    sys.stdout.write("go\n")
    sys.stdout.flush()
    work(*arguments)


# What is written, there and by the tests themselves.


def ensure_repository(host: LocalGitHost) -> Repository:
    return host.ensure_repository("acme", "shop", "orders", effect_key="run-1:g", description="")


def an_order(step: str) -> CommitOrder:
    trailers = (("Factory-Run", "run-1"), ("Factory-Step", step))
    at = datetime(2026, 5, 4, tzinfo=UTC)
    return CommitOrder("shop", "orders", "Do it", trailers, "Ann", at)


def some_files(step: str, count: int = 40) -> Iterator[TreeFile]:
    for number in range(count):
        yield TreeFile(f"{step}/{number}.txt", f"{step} {number}\n".encode() * 200)


def commit(host: LocalGitHost, step: str) -> Commit:
    return host.ensure_commit("acme", an_order(step), some_files(step))


# What a writer does.


def commit_for_ever(folder: str, first: str) -> None:
    host = LocalGitHost(Path(folder))
    number = int(first)
    while True:
        ensure_repository(host)
        commit(host, f"step-{number}")
        number += 1


def hold_the_lock_and_commit(folder: str) -> None:
    def files() -> Iterator[TreeFile]:
        yield from some_files("held")
        sys.stdout.write("half\n")
        sys.stdout.flush()
        signal.pause()

    LocalGitHost(Path(folder)).ensure_commit("acme", an_order("held"), files())


class DyingImport(FastImport):
    """Dies when git has been told of half of the commit's files."""

    def _send_commit(
        self, out: IO[bytes], head: str | None, content: Mapping[str, str | None]
    ) -> None:
        whole = io.BytesIO()
        super()._send_commit(whole, head, content)
        text = whole.getvalue()
        out.write(text[: text.index(b"\nM ", len(text) // 2) + 1])
        out.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def die_in_the_commit(folder: str) -> None:
    local.FastImport = DyingImport
    commit(LocalGitHost(Path(folder)), "first")


def commit_three(folder: str) -> None:
    for number in range(3):
        commit(LocalGitHost(Path(folder)), f"step-{number}")


def commit_a_lot_within_limits(folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
    noise = random.Random(1).randbytes(1024 * 1024)  # noqa: S311 - only must not compress
    try:
        LocalGitHost(Path(folder)).ensure_commit(
            "acme", an_order("big"), [TreeFile("big", noise), TreeFile("also", noise[1:])]
        )
    except StorageFullError as exc:
        sys.stdout.write(f"{exc}")


def ensure_on_a_read_only_disk(folder: str) -> None:
    """Where nothing may be mounted, a folder without the right to write tells as much."""
    mounting = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder]
    mounted = subprocess.run(mounting, check=False, capture_output=True).returncode == 0
    if not mounted:
        Path(folder).chmod(0o500)
    try:
        ensure_repository(LocalGitHost(Path(folder)))
    except (StorageFullError, PermanentError) as exc:
        sys.stdout.write(f"{exc} | {exc.hint}")
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)
