"""Take memories out of the record, and leave it to the outbox to take them out of the index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from factory_runtime.domain.ids import new_id
from factory_runtime.domain.memory import Memory
from factory_runtime.ports import RunTransaction
from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import MEMORY_FORGET

_AT_ONCE = 500
"""Ids of one message."""


def drop_memories(tx: RunTransaction, memories: Sequence[Memory], now: datetime) -> None:
    """Delete memories for good, with vectors that no other has, here and in every index."""
    tx.delete_memories([memory.id for memory in memories])
    leave_forget(tx, memories, now)


def leave_forget(tx: RunTransaction, memories: Sequence[Memory], now: datetime) -> None:
    """Have these taken out of every index as they were; what is there still is put in as it is."""
    for begin in range(0, len(memories), _AT_ONCE):
        some = memories[begin : begin + _AT_ONCE]
        payload = {
            "ids": [memory.id for memory in some],
            "digests": sorted({memory.text_digest for memory in some}),
        }
        leave(tx, MEMORY_FORGET, new_id("forget"), payload, now)
