"""Locks of the run store: who walks a run; and how to take one, from the dead if need be."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.ports import RunTransaction
from factory_runtime.telemetry import worker_is_gone

_DISPATCHER = "-dispatcher"
_NOBODY = "nobody"

POOL = "pool"
"""Stands for a dispatcher's worker where a flow run was handed over and nobody has begun it yet.

No process is called so, and so none is found to have ended: it keeps the slot until it expires.
"""


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


def drop_lock(tx: RunTransaction, name: str, now: datetime) -> None:
    """Take a lock from whoever let it expire, or has ended: it cannot be renewed after this."""
    if take_lock(tx, name, _NOBODY, now, now):
        tx.unlock(name, _NOBODY)


def walk_lock(run_id: str) -> str:
    """The lock that whoever executes a run holds."""
    return f"run:{run_id}"


def dispatcher_of(worker: str) -> str:
    """Who holds a run's lock from its admission until a walk takes it over."""
    return worker + _DISPATCHER


def is_dispatcher(holder: str) -> bool:
    """Whether the holder has admitted the run, and does not walk it."""
    return holder.endswith(_DISPATCHER)


def find_walker(tx: RunTransaction, run_id: str, now: datetime) -> str | None:
    """The living process that executes the run or is about to; None where there is none."""
    holder = tx.find_lock_holder(walk_lock(run_id), now)
    return None if holder is None or worker_is_gone(holder) else holder
