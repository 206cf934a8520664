"""A local folder that the memory's index is kept in, looked at without opening the index."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from factory_runtime.domain.errors import MemoryUnavailableError


class Folder:
    """A folder with a folder for each tenant. Every method raises OSError, but for ``check``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self) -> None:
        """LanceDB makes it by itself."""

    def has(self, name: str) -> bool:
        """Whether it is there; where all of it is no folder, that will be told by who opens it."""
        return (self._path / name).exists() or self._path.is_file()

    def has_files(self, name: str) -> bool:
        """Whether a file is in it."""
        folder = self._path / name
        return folder.exists() and next(folder.iterdir(), None) is not None

    def names(self) -> list[str]:
        """Of all that is in it."""
        return [one.name for one in self._path.iterdir()] if self._path.exists() else []

    def sizes(self, name: str) -> list[int]:
        """Bytes of each file in a folder of it."""
        return list(_sizes(self._path / name))

    def remove(self, name: str) -> None:
        """A folder of it, where it is there."""
        if (self._path / name).exists():
            shutil.rmtree(self._path / name)

    @contextmanager
    def making(self, name: str) -> Generator[None]:
        """One maker of a tenant's tables at a time, in every process of this machine.

        LanceDB lets two who make one table at once write over each other: with an empty table.
        The kernel gives the lock back when a maker is killed.
        """
        (self._path / name).mkdir(parents=True, exist_ok=True)
        with (self._path / name / ".making").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def check(self) -> None:
        """Return where files in it can be listed and written; it is made where it is not there.

        Raises:
            MemoryUnavailableError: they cannot.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            next(self._path.iterdir(), None)
            with tempfile.TemporaryFile(dir=self._path) as probe:
                probe.write(b"\0")
        except OSError as exc:
            raise MemoryUnavailableError(
                f"the memory in {self._path} cannot be used: {exc.strerror}",
                hint="look at the folder",
            ) from exc


def _sizes(folder: Path | str) -> Iterator[int]:
    # While it is put in order, what was listed a moment ago may be gone.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(entry.path)
            else:
                with suppress(OSError):
                    yield entry.stat(follow_symlinks=False).st_size
