"""Runs git: a clean environment, a time limit, and its complaints turned into our errors."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, cast

from factory_runtime.domain.disk import disk_error
from factory_runtime.domain.errors import (
    FactoryError,
    HostBusyError,
    PermanentError,
    StorageFullError,
)

TIME_LIMIT = timedelta(minutes=2)

# git waits this long for another's lock on a branch before it gives up.
LOCK_PATIENCE = timedelta(seconds=1)

_SETTINGS = {
    # A commit that was reported must survive a power cut.
    "core.fsync": "all",
    "core.fsyncMethod": "fsync",
    "core.filesRefLockTimeout": str(int(LOCK_PATIENCE.total_seconds() * 1000)),
    "core.hooksPath": "/dev/null",
    # Its own pack per commit: two files to make durable instead of one per blob.
    "fastimport.unpackLimit": "1",
    "gc.auto": "0",
    "safe.directory": "*",
}

_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large", re.IGNORECASE)
_READ_ONLY = re.compile(r"Read-only file system", re.IGNORECASE)
_LEFTOVER = re.compile(r"Unable to create '(?P<path>[^\n]+\.lock)': File exists")


class LeftoverLockError(HostBusyError):
    """A lock file of git's stands in the way; ``path`` is where."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class BranchMovedError(HostBusyError):
    """Somebody else moved the branch while a commit was made on top of it."""


class GitFailedError(PermanentError):
    """git fails for no reason that is known here: the repository may be damaged."""


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the user's: no configuration, no prompts, no translated messages.

    Args:
        more: settings of git, over ours. Others cannot see them, as they could see arguments.
    """
    chosen = {**_SETTINGS, **(more or {})}
    settings = {
        f"GIT_CONFIG_{part}_{number}": text
        for number, setting in enumerate(chosen.items())
        for part, text in zip(("KEY", "VALUE"), setting, strict=True)
    }
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_CONFIG_COUNT": str(len(chosen)),
        **settings,
    }


@contextmanager
def git_process(
    repository: Path,
    arguments: Sequence[str],
    *,
    keep_open: int | None = None,
    environment: Mapping[str, str] | None = None,
    meaning: Callable[[Path, str, int, str], FactoryError] | None = None,
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A git that is fed through its stdin; it is dead when the block ends.

    Args:
        repository: its bare folder.
        arguments: what follows ``git``.
        keep_open: a file descriptor that the child holds as long as it lives.
        environment: all of it; ``clean_environment`` where none is given.
        meaning: the error for its failure; ``git_error`` where none is given.

    Raises:
        FactoryError: it ended badly. Not looked at where the block raises.
    """
    with tempfile.TemporaryFile() as complaints:
        process = _start(
            repository, arguments, complaints, keep_open, environment or clean_environment()
        )
        watchdog = threading.Timer(TIME_LIMIT.total_seconds(), _kill, [process])
        watchdog.daemon = True
        watchdog.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # git itself says why, below
                yield process
            with contextlib.suppress(BrokenPipeError):
                cast(IO[bytes], process.stdin).close()
            process.wait()
        finally:
            watchdog.cancel()
            _kill(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        if process.returncode != 0:
            complaints.seek(0)
            text = complaints.read(20_000).decode(errors="replace")
            raise (meaning or git_error)(repository, arguments[0], process.returncode, text)


def git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    """What git prints.

    Raises:
        FactoryError: it ended badly; see ``git_error``.
    """
    printed = b""
    with git_process(repository, arguments) as process:
        into = cast(IO[bytes], process.stdin)
        into.write(given)
        into.close()
        printed = cast(IO[bytes], process.stdout).read()
    return printed  # noqa: RET504 - the end of the block may raise


def git_error(repository: Path, command: str, status: int, complaint: str) -> FactoryError:
    """What git's failure means for the caller."""
    lock = _LEFTOVER.search(complaint)
    if lock is not None:
        where = Path(lock["path"])
        return LeftoverLockError(f"{repository.name} is locked by {where.name}", where)
    if "Not updating refs/" in complaint:
        return BranchMovedError(f"the branch of {repository.name} moved", hint="try again")
    if _FULL.search(complaint) or status == -signal.SIGXFSZ:
        return StorageFullError(
            f"no room left in {repository}", hint="free some space, then try again"
        )
    if _READ_ONLY.search(complaint):
        return StorageFullError(f"{repository} cannot be written", hint="mount it writable")
    if status == -signal.SIGKILL:
        return HostBusyError(
            f"git {command} in {repository.name} was stopped after {TIME_LIMIT}, or killed",
            hint="look at the load of this machine, then try again",
        )
    said = " ".join(complaint.split())[:500] or f"exit status {status}"
    hint = "look at the repository with `git fsck`"
    if "Permission denied" in complaint:
        hint = "give this user the right to read and write it"
    return GitFailedError(f"git {command} failed in {repository}: {said}", hint=hint)


def _start(
    repository: Path,
    arguments: Sequence[str],
    complaints: IO[bytes],
    keep_open: int | None,
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - no shell, and every argument is ours
            ["git", f"--git-dir={repository}", *arguments],  # noqa: S607 - the user's git
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment,
            cwd="/",
            start_new_session=True,
            pass_fds=() if keep_open is None else (keep_open,),
        )
    except FileNotFoundError as exc:
        raise PermanentError(
            "git is not installed, or not on the PATH",
            hint="install git 2.36 or newer",
        ) from exc
    except OSError as exc:
        raise disk_error(exc, repository) from exc


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
