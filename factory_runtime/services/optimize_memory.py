"""Keep the memory index small: one tenant after the other, by one process at a time."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.ports import Clock, MemoryIndex, RunStore
from factory_runtime.services.index_memory import KEEP
from factory_runtime.services.memory_lock import try_memory

_LOG = logging.getLogger("factory.memory")


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
    done = busy = failed = 0
    for tenant_id in index.tenants():
        with try_memory(store, clock, tenant_id, worker) as held:
            if held is None:
                busy += 1
                continue
            try:
                index.optimize(tenant_id, KEEP)
                done += 1
            except MemoryUnavailableError as error:
                _LOG.warning("the memory of %s is not put in order: %s", tenant_id, error)
                failed += 1
    return Optimized(done, busy, failed)
