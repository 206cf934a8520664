"""Take a lock of the run store, from the dead if need be."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.ports import RunTransaction
from factory_runtime.telemetry import worker_is_gone


def take_lock(
    tx: RunTransaction, name: str, holder: str, now: datetime, expires_at: datetime
) -> bool:
    """Whether the lock is held by ``holder`` now.

    A holder is a worker's name, or begins with one and a hyphen. One whose process has ended on
    this machine is not waited for until its lock expires.
    """
    if tx.try_lock(name, holder, now, expires_at):
        return True
    other = tx.find_lock_holder(name, now)
    if other is None or not worker_is_gone(other):
        return False
    tx.unlock(name, other)
    return tx.try_lock(name, holder, now, expires_at)
