"""Keep the memory index small: one tenant after the other, by one process at a time."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.ports import Clock, MemoryIndex, RunStore
from factory_runtime.services.index_memory import KEEP
from factory_runtime.services.memory_lock import try_memory

_AT_ONCE = 1000
"""Rows: what is left waits for the next hour."""

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
    """Put every tenant's memory in order, and its records. One that fails hinders no other.

    Raises:
        MemoryUnavailableError: the index cannot be read at all.
    """
    done = busy = failed = 0
    for tenant_id in index.tenants():
        with try_memory(store, clock, tenant_id, worker) as held:
            if held is None:
                busy += 1
                continue
            _mend(store, tenant_id)
            try:
                with held.lasting():
                    index.optimize(tenant_id, KEEP)
                done += 1
            except MemoryUnavailableError as error:
                _LOG.warning("the memory of %s is not put in order: %s", tenant_id, error)
                failed += 1
    return Optimized(done, busy, failed)


def _mend(store: RunStore, tenant_id: str) -> None:
    """Take in what the release before has rewritten, and drop vectors of texts that are no more."""
    # To find them, all that the tenant has is looked through: others can write meanwhile.
    with store.begin(tenant_id, read_only=True) as tx:
        unadopted, unused = tx.unadopted_memories(_AT_ONCE), tx.unused_vectors(_AT_ONCE)
    if unadopted or unused:
        with store.begin(tenant_id) as tx:
            tx.overwrite_deleted()
            tx.adopt_memories(unadopted)
            tx.drop_unused_vectors(unused)
