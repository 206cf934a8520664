"""Counts the connections of this process's pools that are at work."""

from __future__ import annotations

from functools import cache

from sqlalchemy import QueuePool, event

from factory_runtime.telemetry.metrics import POOL_IN_USE, POOL_SIZE


@cache
def count_connections(allowed: int) -> None:
    """Of every pool, from now on. Only processes that tell of their numbers need it.

    Args:
        allowed: how many there may be.
    """
    POOL_SIZE.set(allowed)
    event.listen(QueuePool, "checkout", lambda *_: POOL_IN_USE.inc())
    event.listen(QueuePool, "checkin", lambda *_: POOL_IN_USE.dec())
