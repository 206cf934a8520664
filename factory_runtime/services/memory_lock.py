"""Locks of a tenant's memory: one process at a time changes its index and its models, or writes prose."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from factory_runtime.domain.errors import MemoryUnavailableError, StoreUnavailableError
from factory_runtime.domain.ids import new_id
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.locks import take_lock

HOLD = timedelta(minutes=5)
"""Renewed with every batch. Of a process that ended on this machine, nobody waits for it."""

RENEW_SECONDS = 60.0
"""Of what takes long in one go."""

NAME = "index-memory"
PROSE = "write-prose"

_LOOK_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """The lock, as its holder has it."""

    store: RunStore
    clock: Clock
    tenant_id: str
    holder: str
    name: str

    def renew(self) -> None:
        """Have it for a while longer: before anything that may take long.

        Raises:
            MemoryUnavailableError: another process has taken it over, this one was away for so long.
        """
        with self.store.begin(self.tenant_id, durable=False) as tx:
            kept = tx.renew_lock(self.name, self.holder, self.clock.now() + HOLD)
        if not kept:
            raise MemoryUnavailableError(
                f"another process has taken the memory of {self.tenant_id} over"
            )

    @contextmanager
    def lasting(self) -> Generator[None]:
        """Within, it is renewed by itself: for what takes long and cannot tell how far it is."""
        done = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(done,), name="memory-lock")
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()

    def _renew_until(self, done: threading.Event) -> None:
        while not done.wait(RENEW_SECONDS):
            # That it is lost, or the store away, is found out by who works on.
            with suppress(MemoryUnavailableError, StoreUnavailableError):
                self.renew()


@contextmanager
def try_memory(
    store: RunStore, clock: Clock, tenant_id: str, worker: str, name: str = NAME
) -> Generator[Held | None]:
    """Hold the lock within; None where another process has it."""
    holder, now = new_id(worker), clock.now()
    with store.begin(tenant_id, durable=False) as tx:
        taken = take_lock(tx, name, holder, now, now + HOLD)
    if not taken:
        yield None
        return
    try:
        yield Held(store, clock, tenant_id, holder, name)
    finally:
        # Where that cannot be done, somebody else has it when it expires.
        with suppress(StoreUnavailableError), store.begin(tenant_id, durable=False) as tx:
            tx.unlock(name, holder)


@contextmanager
def hold_memory(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    worker: str,
    patience: timedelta = timedelta(0),
) -> Generator[Held]:
    """Hold the lock within, and wait for it so long.

    Raises:
        MemoryUnavailableError: another process still has it.
    """
    until = time.monotonic() + patience.total_seconds()
    while True:
        with try_memory(store, clock, tenant_id, worker) as held:
            if held is not None:
                yield held
                return
        if time.monotonic() >= until:
            raise MemoryUnavailableError(
                f"another process is at the memory of {tenant_id}", hint="try again in a minute"
            )
        time.sleep(_LOOK_AGAIN_SECONDS)
