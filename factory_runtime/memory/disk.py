"""What the memory's index takes of the disk, looked at now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from factory_runtime.memory.container import Container
from factory_runtime.memory.folder import Folder

_FRESH_SECONDS = 60.0
"""Its files are many: they are not looked at for every question."""

_MIB = 1024 * 1024

_LOG = logging.getLogger("factory.memory")


class MemoryDisk:
    """What the index is in.

    Attributes:
        limit: bytes that it should not pass; None is any number.
    """

    def __init__(self, ground: Callable[[], Folder | Container], limit_mib: int | None) -> None:
        """``ground`` gives what it is in, or raises where the settings name nothing that can be."""
        self._ground = ground
        self.limit = None if limit_mib is None else limit_mib * _MIB
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._used = 0

    def used(self) -> int:
        """Bytes, as they were a minute ago at the latest, or when it last answered; 0 at first."""
        with self._lock:
            now = time.monotonic()
            if self._looked_at is None or now - self._looked_at >= _FRESH_SECONDS:
                self._looked_at = now
                try:
                    self._used = sum(self._ground().sizes(""))
                # Whoever looks at the storage itself is told; its library has errors of many kinds.
                except Exception as error:
                    _LOG.warning("nobody knows what the memory's index takes: %s", type(error))
            return self._used

    def complaint(self) -> str | None:
        """What to say of it where it has passed its limit."""
        if self.limit is None or (used := self.used()) <= self.limit:
            return None
        return (
            f"the memory's index takes {used // _MIB} MiB, and should take {self.limit // _MIB}:"
            " forget what is not needed, drop models that are kept, or raise FACTORY_MEMORY_DISK_MIB"
        )
