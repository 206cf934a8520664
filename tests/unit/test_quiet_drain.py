"""The outbox of an executor: drained for all who ask, between runs where it can be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import pytest

from deployments import quiet_drain
from deployments.quiet_drain import QuietDrain
from factory_runtime.domain.errors import StoreUnavailableError


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet_drain, "QUIET", 0.02)
    monkeypatch.setattr(quiet_drain, "WITHIN", 0.4)
    monkeypatch.setattr(quiet_drain, "LEARN_WITHIN", 2.0)


class Runs:
    """How many are under way, how many were at each drain, and at which of them was learned."""

    def __init__(self) -> None:
        self.under_way = 0
        self.at_drains: list[int] = []
        self.learned: list[bool] = []

    async def drain(self, *, learn: bool) -> None:
        self.at_drains.append(self.under_way)
        self.learned.append(learn)

    @contextmanager
    def one(self) -> Generator[None]:
        self.under_way += 1
        yield
        self.under_way -= 1


def served(test: Callable[[QuietDrain, Runs], Awaitable[None]]) -> Runs:
    async def serve() -> Runs:
        runs = Runs()
        outbox = QuietDrain(lambda: runs.under_way > 0, runs.drain)
        serving = asyncio.create_task(outbox.serve())
        await test(outbox, runs)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return runs

    return asyncio.run(serve())


async def until_drained(runs: Runs, times: int = 1) -> None:
    end = time.monotonic() + 10
    while len(runs.at_drains) < times:
        assert time.monotonic() < end, "nothing was drained"
        await asyncio.sleep(0.01)


def test_nobody_asks_and_nothing_is_drained():
    async def test(_: QuietDrain, __: Runs) -> None:
        await asyncio.sleep(0.1)

    assert served(test).at_drains == []


def test_where_no_run_is_under_way_it_is_drained_soon():
    async def test(outbox: QuietDrain, runs: Runs) -> None:
        begun = time.monotonic()
        outbox.ask()
        await until_drained(runs)
        assert time.monotonic() - begun < quiet_drain.WITHIN

    assert served(test).at_drains == [0]


def test_those_who_ask_while_a_run_is_under_way_are_served_together_after_it():
    async def test(outbox: QuietDrain, runs: Runs) -> None:
        with runs.one():
            for _ in range(5):
                outbox.ask()
                await asyncio.sleep(0.02)
        await until_drained(runs)
        await asyncio.sleep(0.1)

    runs = served(test)
    assert (runs.at_drains, runs.learned) == ([0], [True])


def test_runs_that_follow_each_other_at_once_are_not_disturbed_in_between():
    async def test(outbox: QuietDrain, runs: Runs) -> None:
        for _ in range(4):
            with runs.one():
                await asyncio.sleep(0.05)
                outbox.ask()
        assert runs.at_drains == []
        await until_drained(runs)

    assert served(test).at_drains == [0]


def test_under_runs_without_end_it_is_drained_after_a_while_and_learned_after_a_longer_one():
    async def test(outbox: QuietDrain, runs: Runs) -> None:
        with runs.one():
            while not any(runs.learned):
                outbox.ask()
                await until_drained(runs, len(runs.at_drains) + 1)
            outbox.ask()
            await until_drained(runs, len(runs.at_drains) + 1)

    runs = served(test)
    assert set(runs.at_drains) == {1}
    assert (runs.learned[0], runs.learned[-1]) == (False, False)
    assert runs.learned.count(True) == 1


def test_who_asks_amid_a_drain_is_served_by_the_next():
    async def serve() -> int:
        drains = 0
        asks = asyncio.Event()

        async def drain(*, learn: bool) -> None:
            del learn
            nonlocal drains
            drains += 1
            asks.set()
            await asyncio.sleep(0.05)

        outbox = QuietDrain(lambda: False, drain)
        serving = asyncio.create_task(outbox.serve())
        outbox.ask()
        await asks.wait()
        outbox.ask()
        await asyncio.sleep(0.2)
        serving.cancel()
        return drains

    assert asyncio.run(serve()) == 2


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), RuntimeError("a bug")])
def test_a_drain_that_fails_ends_nothing(error: Exception, caplog: pytest.LogCaptureFixture):
    async def serve() -> int:
        tries = 0
        tried = asyncio.Event()

        async def drain(*, learn: bool) -> None:
            del learn
            nonlocal tries
            tries += 1
            tried.set()
            raise error

        outbox = QuietDrain(lambda: False, drain)
        serving = asyncio.create_task(outbox.serve())
        for _ in range(2):
            tried.clear()
            outbox.ask()
            await tried.wait()
            await asyncio.sleep(0)
        assert not serving.done()
        serving.cancel()
        return tries

    assert asyncio.run(serve()) == 2
    assert "the outbox waits" in caplog.text
