"""Whose turn it is to change what a tenant has learned."""

from __future__ import annotations

from datetime import UTC, datetime

from factory_runtime.ports import RunTransaction

_NAME = "learn-memory"
_EXPIRED = datetime(1970, 1, 1, tzinfo=UTC)


def take_turn(tx: RunTransaction, now: datetime) -> None:
    """Wait until no other transaction learns or forgets for this tenant; first thing in one.

    A pattern is worked out from all observations: two at once would each miss the other's, and the
    later one would write the pattern without the earlier's. The lock's row is held by the database
    until the transaction ends, and the lock itself is free at once, whoever dies.
    """
    while not tx.try_lock(_NAME, _NAME, now, _EXPIRED):
        pass  # somebody else made the row just now: it is there to be taken
