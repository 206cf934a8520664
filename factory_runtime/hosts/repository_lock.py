"""One writer at a time for a bare repository, and what killed writers leave behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from factory_runtime.domain.errors import HostBusyError, NotFoundError
from factory_runtime.hosts.git import LOCK_PATIENCE, LeftoverLockError
from factory_runtime.hosts.orders import no_repository

_WAIT = timedelta(seconds=90)
_POLL = timedelta(milliseconds=5)
_ABANDONED_AFTER = timedelta(hours=1)


LOCK_FOLDER = "factory"
"""In a repository; what we keep beside git's own."""


@contextmanager
def repository_lock(place: Path) -> Generator[int, None, None]:
    """Hold the repository's lock; gives its descriptor.

    The system lets go of it when the last process that has the descriptor is dead. A git child
    that inherits it keeps the lock while it still runs, though its parent was killed.

    Raises:
        HostBusyError: another process has held it for a long time.
        NotFoundError: the repository was removed while it was waited for.
    """
    file = place / LOCK_FOLDER / "lock"
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError as exc:
        raise _gone(place) from exc
    try:
        until = time.monotonic() + _WAIT.total_seconds()
        while not _try_lock(handle):
            if time.monotonic() > until:
                raise HostBusyError(
                    f"another process has been writing to {place.name} for {_WAIT}",
                    hint="look for a stopped `git fast-import` and end it",
                )
            time.sleep(_POLL.total_seconds())
        # Whoever held it may have put the repository elsewhere; another may stand in its place.
        if not _is_of(handle, file):
            raise _gone(place)
        yield handle
    finally:
        os.close(handle)


def sweep_leftovers(place: Path) -> None:
    """Remove the temporary files of killed gits once they are old. The lock must be held."""
    oldest = time.time() - _ABANDONED_AFTER.total_seconds()
    for folder, prefix in ((place, "fast_import_crash_"), (place / "objects/pack", "tmp_")):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(prefix) and entry.stat().st_mtime < oldest:
                    with contextlib.suppress(FileNotFoundError):
                        Path(entry.path).unlink()


def remove_leftover_lock(place: Path, found: LeftoverLockError) -> None:
    """Remove a lock file of git's that nobody can be holding. The repository's lock must be held.

    A process of ours that still lived would hold our own lock, and a person's push holds git's
    for an instant; git has already waited longer than that.

    Raises:
        LeftoverLockError: it does not lie in the repository.
    """
    path = Path(os.path.normpath(found.path))
    if not path.is_relative_to(place):
        raise found
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime >= LOCK_PATIENCE.total_seconds():
            path.unlink()


def _is_of(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _gone(place: Path) -> NotFoundError:
    return no_repository(place.parent.name, place.stem)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
