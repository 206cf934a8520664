"""The watch over a walk: when it has to end, told by the store alone."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.services.engine import Engine
from flows import watch
from flows.watch import Why, watch_run
from tasks.execution import Execution
from tasks.gate import Gate
from tests.small_factory import SmallFactory, steps


class Away:
    """A store that can be read, and cannot be written so many times."""

    def __init__(self, store: Any, times: int) -> None:
        self._store, self._times = store, times
        self.refused = self.written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def begin(self, tenant_id: str, **options: Any) -> Generator[Any]:
        if self.refused < self._times and not options.get("read_only"):
            self.refused += 1
            raise StoreUnavailableError("the database is away")
        self.written += not options.get("read_only")
        with self._store.begin(tenant_id, **options) as tx:
            yield tx


class Parts:
    """What a watch needs of a runtime."""

    def __init__(self, factory: SmallFactory, store: Any, lease: timedelta) -> None:
        self.store, self.clock = store, factory.clock
        self.engine = Engine(
            store, factory.storage, factory.host, factory.job_types, factory.clock,
            factory.engine.worker, "tests", lease,
        )  # fmt: skip


@pytest.fixture
def factory(tmp_path: Path) -> Generator[SmallFactory]:
    small = SmallFactory(tmp_path / "templates")
    yield small
    small.store.close()


def watched(factory: SmallFactory, store: Any, lease: timedelta) -> Execution:
    walk = factory.start(steps("a:"))
    parts = cast(Runtime, Parts(factory, store, lease))
    return Execution(parts, walk, Gate(1), asyncio.Semaphore(1))


def test_a_walk_whose_lease_cannot_be_renewed_for_its_whole_length_is_lost(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watch, "POLL", 0.01)
    store = Away(factory.store, 10_000)

    async def live() -> Why:
        return await watch_run(watched(factory, store, timedelta(seconds=2)))

    assert asyncio.run(asyncio.wait_for(live(), 60)) is Why.LOST
    assert store.refused > 1, "it has to be tried again before it is given up"


def test_a_store_that_comes_back_in_time_keeps_the_walk(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watch, "POLL", 0.01)
    store = Away(factory.store, 2)

    async def live() -> Why:
        execution = watched(factory, store, timedelta(seconds=4))
        watching = asyncio.create_task(watch_run(execution))
        await asyncio.wait([watching], timeout=2.5)
        execution.leave()  # ends it in good order: its thread must not outlive the store
        return await watching

    assert asyncio.run(asyncio.wait_for(live(), 60)) is Why.LEAVE
    assert store.refused == 2
    assert store.written


def test_a_walk_that_another_process_has_taken_over_is_lost(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watch, "POLL", 0.01)

    async def live() -> Why:
        execution = watched(factory, factory.store, timedelta(seconds=0.04))
        factory.take_over(execution.walk)
        return await watch_run(execution)

    assert asyncio.run(asyncio.wait_for(live(), 60)) is Why.LOST
