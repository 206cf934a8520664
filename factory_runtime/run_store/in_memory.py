"""The run store in memory, for tests and for trying things out: nothing outlives the process.

It is the same SQL on SQLite's in-memory database, so it cannot behave unlike the real ones.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from factory_runtime.run_store.engines import open_memory_engine
from factory_runtime.run_store.store import SqlRunStore, Turn
from factory_runtime.run_store.tables import metadata


class InMemoryRunStore(SqlRunStore):
    """``ports.RunStore`` with nothing behind it."""

    def __init__(self) -> None:
        place = "the run store in memory"
        super().__init__(open_memory_engine(), place)
        self._only = Turn(place)
        metadata.create_all(self.engine)

    def _waiting(self, *, read_only: bool) -> AbstractContextManager[None]:
        # There is one connection: readers wait as well.
        return self._only.taken()
