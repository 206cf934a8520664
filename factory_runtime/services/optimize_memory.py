"""Keep the memory index small: one tenant after the other, by one process at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.ids import new_id
from factory_runtime.ports import Clock, MemoryIndex, RunStore
from factory_runtime.services.locks import take_lock

KEEP = timedelta(days=1)
"""What was replaced stays as long as somebody may still be reading it."""

_HOLD = timedelta(hours=1)
"""One that takes longer, or was stopped without dying, no longer keeps others from it."""

_LOCK = "optimize-memory"


@dataclass(frozen=True, slots=True)
class Optimized:
    """How many tenants' memories were put in order.

    Attributes:
        busy: another process is at them.
        failed: the next time will do.
    """

    done: int = 0
    busy: int = 0
    failed: int = 0


def optimize_memory(store: RunStore, clock: Clock, index: MemoryIndex, worker: str) -> Optimized:
    """Put every tenant's memory in order. One that cannot be read hinders no other.

    Raises:
        MemoryUnavailableError: the index cannot be read at all.
    """
    holder = new_id(worker)
    done = busy = failed = 0
    for tenant_id in index.tenants():
        now = clock.now()
        with store.begin(tenant_id) as tx:
            if not take_lock(tx, _LOCK, holder, now, now + _HOLD):
                busy += 1
                continue
        try:
            index.optimize(tenant_id, KEEP)
            done += 1
        except MemoryUnavailableError:
            failed += 1
        finally:
            with store.begin(tenant_id) as tx:
                tx.unlock(_LOCK, holder)
    return Optimized(done, busy, failed)
