"""Counts the connections of this process's pools that are at work."""

from __future__ import annotations

from functools import cache

from sqlalchemy import QueuePool, event

from factory_runtime.run_store.engines import SQLITE_CONNECTIONS, parse_url
from factory_runtime.telemetry.metrics import POOL_IN_USE, POOL_SIZE


def count_connections(url: str, connections: int) -> None:
    """From now on, of a store that is opened with these. Only who tells of the numbers needs it."""
    is_sqlite = parse_url(url).get_backend_name() == "sqlite"
    POOL_SIZE.set(SQLITE_CONNECTIONS if is_sqlite else connections)
    _listen()


@cache
def _listen() -> None:
    event.listen(QueuePool, "checkout", lambda *_: POOL_IN_USE.inc())
    event.listen(QueuePool, "checkin", lambda *_: POOL_IN_USE.dec())
