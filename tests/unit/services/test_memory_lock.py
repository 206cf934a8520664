"""The lock of a tenant's memory outlasts what takes long, and is lost by who was away for long."""

from __future__ import annotations

import time

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.services import memory_lock
from factory_runtime.services.memory_lock import HOLD, NAME, try_memory
from tests.builders import TENANT
from tests.small_factory import SmallFactory


def wait_until_held_for(factory: SmallFactory, share: float) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with factory.store.begin(TENANT, read_only=True) as tx:
            if tx.find_lock_holder(NAME, factory.clock.now() + share * HOLD) is not None:
                return
        time.sleep(0.005)
    pytest.fail("it was not renewed")


def test_it_is_renewed_for_as_long_as_something_lasts(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_lock, "RENEW_SECONDS", 0.01)
    with try_memory(factory.store, factory.clock, TENANT, "here:1") as held:
        assert held is not None
        with held.lasting():
            for _ in range(3):
                factory.clock.pass_time(0.8 * HOLD)
                wait_until_held_for(factory, 0.9)
            with try_memory(factory.store, factory.clock, TENANT, "there:2") as other:
                assert other is None
        factory.clock.pass_time(1.1 * HOLD)
        with try_memory(factory.store, factory.clock, TENANT, "there:2") as other:
            assert other is not None
            with held.lasting():
                time.sleep(0.05)
            with pytest.raises(MemoryUnavailableError, match="taken"):
                held.renew()
