"""A Prefect lock manager on the run store's locks: two renders of one key become one.

Prefect's own file locks are kept for ever by a holder that was killed. These are taken from one
that has ended, and expire: a render has a hard limit of time, so a lock held for twice that is
nobody's.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

from prefect.locking.protocol import LockManager

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.services.locks import take_lock
from factory_runtime.services.steadily import steadily
from factory_runtime.telemetry import worker_name
from tasks.threads import in_thread

_POLL = 0.05
_FOREVER = float("inf")
_PATIENCE = timedelta(seconds=10)
"""For a store that is away when a lock is to be given back."""


class StoreLocks(LockManager):
    """Implements Prefect's ``LockManager`` for one tenant; keys are hex. Close it after use."""

    def __init__(self, runtime: Runtime, tenant_id: str, hold: timedelta) -> None:
        self._runtime = runtime
        self._tenant_id = tenant_id
        self._hold = hold
        self._worker = worker_name()
        self._held: set[tuple[str, str]] = set()
        self._closed = False

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Take the lock, waiting up to ``acquire_timeout`` seconds (None: for ever)."""
        until = _until(acquire_timeout)
        while not self._try(key, holder, hold_timeout):
            if self._closed or time.monotonic() >= until:
                return False
            time.sleep(_POLL)
        return True

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Like ``acquire_lock``, off the event loop."""
        until = _until(acquire_timeout)
        while not await in_thread(self._try, key, holder, hold_timeout):
            if self._closed or time.monotonic() >= until:
                return False
            await asyncio.sleep(_POLL)
        return True

    def release_lock(self, key: str, holder: str) -> None:
        """Give back a lock that was taken here. Prefect asks twice, on the event loop."""
        if (key, holder) not in self._held:
            return
        self._unlock(key, holder)

    async def aclose(self) -> None:
        """Give back what is still held, and have no thread get any more.

        Prefect leaves its locks where it is cancelled as it takes them, or where the store is away
        as it gives them back: everybody else would wait until they expire.
        """
        self._closed = True
        if self._held:
            await asyncio.shield(in_thread(self._give_back))

    def is_locked(self, key: str) -> bool:
        return self._holder(key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        return self._holder(key) == self._full(holder)

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds it; False if that takes longer than ``timeout`` seconds."""
        until = _until(timeout)
        while self.is_locked(key):
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL)
        return True

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - Prefect's protocol
        """Like ``wait_for_lock``, off the event loop."""
        until = _until(timeout)
        while await in_thread(self.is_locked, key):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(_POLL)
        return True

    def _try(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        now = self._runtime.clock.now()
        hold = self._hold if hold_timeout is None else timedelta(seconds=hold_timeout)
        with self._runtime.store.begin(self._tenant_id) as tx:
            taken = take_lock(tx, _name(key), self._full(holder), now, now + hold)
        if taken:
            self._held.add((key, holder))
            if self._closed:  # it was, while this waited for the store
                self._give_back()
                return False
        return taken

    def _give_back(self) -> None:
        for key, holder in tuple(self._held):
            with suppress(StoreUnavailableError):  # it expires by itself
                steadily(
                    lambda _again, key=key, holder=holder: self._unlock(key, holder), _PATIENCE
                )

    def _unlock(self, key: str, holder: str) -> None:
        with self._runtime.store.begin(self._tenant_id) as tx:
            tx.unlock(_name(key), self._full(holder))
        self._held.discard((key, holder))

    def _full(self, holder: str) -> str:
        """Prefect's holder, told to be of this process: others see when it has ended."""
        return f"{self._worker}-{holder}"

    def _holder(self, key: str) -> str | None:
        with self._runtime.store.begin(self._tenant_id, read_only=True) as tx:
            return tx.find_lock_holder(_name(key), self._runtime.clock.now())


def _name(key: str) -> str:
    return f"render:{key}"


def _until(timeout: float | None) -> float:
    return _FOREVER if timeout is None else time.monotonic() + timeout
