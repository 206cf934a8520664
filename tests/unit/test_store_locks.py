"""The lock manager that makes two renders of one key one, and forgets holders that were killed."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from prefect.transactions import AsyncTransaction, IsolationLevel, atransaction

from factory_runtime.bootstrap import Runtime
from factory_runtime.services.locks import take_lock
from factory_runtime.settings import Settings
from tasks.locks import StoreLocks
from tests.faults import FaultyStore
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


# --- locks that nobody gives back


def transaction(locks: StoreLocks, folder: Path) -> AbstractAsyncContextManager[AsyncTransaction]:
    """Prefect's, which takes the lock of the key and then looks for a result."""
    results = ResultStore(
        lock_manager=locks, result_storage=LocalFileSystem(basepath=str(folder / "results"))
    )
    return atransaction(KEY, results, isolation_level=IsolationLevel.SERIALIZABLE)


def test_a_transaction_that_is_cancelled_once_it_has_the_lock_leaves_none(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def scene() -> None:
        looks = asyncio.Event()

        async def look(store: ResultStore, key: str) -> bool:
            looks.set()
            return await asyncio.Event().wait()

        monkeypatch.setattr(ResultStore, "aexists", look)

        async def render() -> None:
            locks = StoreLocks(runtime, "acme", HOLD)
            async with aclosing(locks), transaction(locks, tmp_path):
                raise AssertionError("it was cancelled before")

        rendering = asyncio.create_task(render())
        await looks.wait()
        assert StoreLocks(runtime, "acme", HOLD).is_locked(KEY)
        rendering.cancel()
        await asyncio.wait([rendering])
        assert rendering.cancelled()

    asyncio.run(scene())
    assert not StoreLocks(runtime, "acme", HOLD).is_locked(KEY)


def test_a_lock_that_comes_after_who_wanted_it_was_cancelled_is_given_back(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    asked, answered = Event(), Event()
    take = take_lock

    def take_late(*arguments: Any) -> bool:
        asked.set()
        assert answered.wait(30)
        return take(*arguments)

    monkeypatch.setattr("tasks.locks.take_lock", take_late)

    async def scene() -> None:
        async with aclosing(StoreLocks(runtime, "acme", HOLD)) as own:
            taking = asyncio.create_task(own.aacquire_lock(KEY, "one"))
            assert await asyncio.to_thread(asked.wait, 30)
            taking.cancel()
            await asyncio.wait([taking])
        answered.set()

    asyncio.run(scene())
    monkeypatch.undo()
    assert StoreLocks(runtime, "acme", HOLD).acquire_lock(KEY, "two", acquire_timeout=10)


def test_a_lock_is_given_back_though_the_store_was_away_when_prefect_did(
    runtime: Runtime, tmp_path: Path
):
    ways = FaultyStore(runtime.store, at={2: ("before", 0), 3: ("before", 0)})
    beside = cast(Runtime, SimpleNamespace(store=ways, clock=runtime.clock))

    async def scene() -> None:
        async with aclosing(StoreLocks(beside, "acme", HOLD)) as own:
            async with transaction(own, tmp_path) as one:
                one.stage({"digest": "d"})
            assert own.is_locked(KEY)

    asyncio.run(scene())
    assert ways.fired["before"] == 2
    assert not StoreLocks(runtime, "acme", HOLD).is_locked(KEY)
