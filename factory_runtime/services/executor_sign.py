"""The sign of life of whoever executes runs: one lock, that any of them holds and renews."""

from __future__ import annotations

from datetime import datetime, timedelta

from factory_runtime.ports import EVERYBODY, Clock, RunStore
from factory_runtime.services.locks import take_lock
from factory_runtime.telemetry import worker_is_gone

_SIGN = "executor"
_LASTS = timedelta(seconds=15)


def show_sign(store: RunStore, clock: Clock, worker: str) -> None:
    """Say that this worker executes runs; to be said again every few seconds."""
    now = clock.now()
    with store.begin(EVERYBODY, durable=False) as tx:
        take_lock(tx, _SIGN, worker, now, now + _LASTS)


def find_executor(store: RunStore, now: datetime) -> str | None:
    """One who executes runs and lives; None where nobody does."""
    with store.begin(EVERYBODY, read_only=True) as tx:
        holder = tx.find_lock_holder(_SIGN, now)
    return None if holder is None or worker_is_gone(holder) else holder
