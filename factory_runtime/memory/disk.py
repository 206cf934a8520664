"""What the memory's index takes of the disk, looked at now and then."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_FRESH_SECONDS = 60.0
"""Its files are many: they are not looked at for every question."""

_MIB = 1024 * 1024


class MemoryDisk:
    """The folder of the index.

    Attributes:
        limit: bytes that it should not pass; None is any number.
    """

    def __init__(self, folder: Path, limit_mib: int | None) -> None:
        self._folder = folder
        self.limit = None if limit_mib is None else limit_mib * _MIB
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._used = 0

    def used(self) -> int:
        """Bytes, as they were a minute ago at the latest; 0 where there is no folder."""
        with self._lock:
            now = time.monotonic()
            if self._looked_at is None or now - self._looked_at >= _FRESH_SECONDS:
                self._used, self._looked_at = sum(_sizes(self._folder)), now
            return self._used

    def complaint(self) -> str | None:
        """What to say of it where it has passed its limit."""
        if self.limit is None or (used := self.used()) <= self.limit:
            return None
        return (
            f"the memory's index takes {used // _MIB} MiB, and should take {self.limit // _MIB}:"
            " forget what is not needed, drop models that are kept, or raise FACTORY_MEMORY_DISK_MIB"
        )


def _sizes(folder: Path | str) -> Iterator[int]:
    # While it is put in order, what was listed a moment ago may be gone.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(entry.path)
            else:
                with suppress(OSError):
                    yield entry.stat(follow_symlinks=False).st_size
