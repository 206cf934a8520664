"""The lock manager that makes two renders of one key one, and forgets holders that were killed."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.settings import Settings
from tasks.locks import StoreLocks
from tests.small_factory import SettableClock

KEY = "ab" * 32
HOLD = timedelta(minutes=2)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def runtime(tmp_path: Path, clock: SettableClock) -> Generator[Runtime]:
    whole = Runtime(Settings(home=tmp_path), clock)
    yield whole
    whole.store.close()


@pytest.fixture
def locks(runtime: Runtime) -> StoreLocks:
    return StoreLocks(runtime, "acme", HOLD)


def test_a_lock_has_one_holder(locks: StoreLocks):
    assert locks.acquire_lock(KEY, "one", acquire_timeout=0)
    assert not locks.acquire_lock(KEY, "two", acquire_timeout=0)
    assert locks.is_locked(KEY)
    assert (locks.is_lock_holder(KEY, "one"), locks.is_lock_holder(KEY, "two")) == (True, False)
    assert locks.acquire_lock("other", "two", acquire_timeout=0)


def test_a_lock_that_was_given_back_is_free(locks: StoreLocks):
    locks.acquire_lock(KEY, "one", acquire_timeout=0)
    locks.release_lock(KEY, "one")
    locks.release_lock(KEY, "one")  # Prefect asks twice
    assert not locks.is_locked(KEY)
    assert locks.acquire_lock(KEY, "two", acquire_timeout=0)


def test_nobody_gives_back_anothers_lock(locks: StoreLocks, runtime: Runtime):
    locks.acquire_lock(KEY, "one", acquire_timeout=0)
    locks.release_lock(KEY, "two")
    StoreLocks(runtime, "acme", HOLD).release_lock(KEY, "two")
    assert locks.is_lock_holder(KEY, "one")


def test_a_killed_holders_lock_expires(locks: StoreLocks, clock: SettableClock):
    locks.acquire_lock(KEY, "killed", acquire_timeout=0)
    clock.pass_time(HOLD - timedelta(seconds=1))
    assert not locks.acquire_lock(KEY, "two", acquire_timeout=0)
    clock.pass_time()
    assert not locks.is_locked(KEY)
    assert locks.acquire_lock(KEY, "two", acquire_timeout=0)
    locks.release_lock(KEY, "killed")  # it was only slow: the lock is not its own any more
    assert locks.is_lock_holder(KEY, "two")


def test_a_holder_may_say_how_long_it_holds(locks: StoreLocks, clock: SettableClock):
    locks.acquire_lock(KEY, "one", acquire_timeout=0, hold_timeout=5)
    clock.pass_time(timedelta(seconds=5))
    assert not locks.is_locked(KEY)


def test_tenants_do_not_wait_for_each_other(locks: StoreLocks, runtime: Runtime):
    locks.acquire_lock(KEY, "one", acquire_timeout=0)
    assert StoreLocks(runtime, "other", HOLD).acquire_lock(KEY, "one", acquire_timeout=0)


def test_waiting_ends_when_the_lock_is_given_back(locks: StoreLocks):
    locks.acquire_lock(KEY, "one", acquire_timeout=0)
    assert not locks.wait_for_lock(KEY, timeout=0)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(locks.wait_for_lock, KEY, 10)
        taking = pool.submit(locks.acquire_lock, KEY, "two", 10)
        locks.release_lock(KEY, "one")
        assert taking.result(10)
        locks.release_lock(KEY, "two")
        assert waiting.result(10)


def test_of_many_that_race_for_a_lock_one_gets_it(locks: StoreLocks):
    together = Barrier(4)

    def take(holder: str) -> bool:
        together.wait()
        return locks.acquire_lock(KEY, holder, acquire_timeout=0)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(take, "abcd")) == [False, False, False, True]


def test_it_waits_without_blocking_the_event_loop(locks: StoreLocks):
    async def scene() -> list[bool]:
        first = await locks.aacquire_lock(KEY, "one", acquire_timeout=0)
        refused = await locks.aacquire_lock(KEY, "two", acquire_timeout=0)
        waiting = asyncio.create_task(locks.aacquire_lock(KEY, "two", acquire_timeout=10))
        await asyncio.sleep(0)
        locks.release_lock(KEY, "one")
        second = await waiting
        still = await locks.await_for_lock(KEY, timeout=0)
        locks.release_lock(KEY, "two")
        return [first, refused, second, still, await locks.await_for_lock(KEY, timeout=10)]

    assert asyncio.run(scene()) == [True, False, True, False, True]


def test_a_lock_of_a_killed_process_is_free_at_once(locks: StoreLocks, runtime: Runtime):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    dead = f"{socket.gethostname()}:{ended.pid}-one"
    now = runtime.clock.now()
    with runtime.store.begin("acme") as tx:
        assert tx.try_lock(f"render:{KEY}", dead, now, now + HOLD)
    assert locks.acquire_lock(KEY, "two", acquire_timeout=0)
    assert locks.is_lock_holder(KEY, "two")


def test_a_lock_of_another_machine_is_waited_for(locks: StoreLocks, runtime: Runtime):
    now = runtime.clock.now()
    with runtime.store.begin("acme") as tx:
        assert tx.try_lock(f"render:{KEY}", "another-machine:1-one", now, now + HOLD)
    assert not locks.acquire_lock(KEY, "two", acquire_timeout=0)
