"""The run store in memory, for tests and for trying things out: nothing outlives the process.

It is the same SQL on SQLite's in-memory database, so it cannot behave unlike the real ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Engine

from factory_runtime.run_store.engines import open_memory_engine
from factory_runtime.run_store.store import SqlRunStore, Turn
from factory_runtime.run_store.tables import metadata


class InMemoryRunStore(SqlRunStore):
    """``ports.RunStore`` with nothing behind it."""

    def __init__(self) -> None:
        place = "the run store in memory"
        super().__init__(open_memory_engine(), place)
        self._only = Turn(place)
        _driver_of(_empty_one()).backup(_driver_of(self.engine))

    @contextmanager
    def sharing_reads(self, tenant_id: str) -> Generator[None]:
        del tenant_id  # who holds the one connection for long keeps everybody waiting
        yield

    def _waiting(self, *, read_only: bool) -> AbstractContextManager[None]:
        # There is one connection: readers wait as well.
        return self._only.taken()


@cache
def _empty_one() -> Engine:
    """A database with our tables, to be copied: making them takes twenty times as long."""
    engine = open_memory_engine()
    metadata.create_all(engine)
    return engine


def _driver_of(engine: Engine) -> sqlite3.Connection:
    """The one connection of a database in memory."""
    raw: Any = engine.raw_connection().driver_connection
    return raw
