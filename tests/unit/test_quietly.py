"""What an executor does between runs where it can: for all who ask, and to the end."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import pytest

from deployments import quietly
from deployments.quietly import Quietly
from factory_runtime.domain.errors import StoreUnavailableError

WITHIN = 1.0
LEFT = "the outbox waits"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quietly, "QUIET", 0.1)
    monkeypatch.setattr(quietly, "_LOOK", 0.02)


class Runs:
    """How many are under way, and how many were each time that it was worked."""

    def __init__(self) -> None:
        self.under_way = 0
        self.at_work: list[int] = []
        self._last_ended_at = -math.inf

    async def work(self) -> None:
        self.at_work.append(self.under_way)

    @contextmanager
    def one(self) -> Generator[None]:
        self.under_way += 1
        yield
        self.under_way -= 1
        self._last_ended_at = time.monotonic()

    def quiet_for(self) -> float:
        return 0.0 if self.under_way else time.monotonic() - self._last_ended_at


def served(test: Callable[[Quietly, Runs], Awaitable[None]], within: float = WITHIN) -> Runs:
    async def serve() -> Runs:
        runs = Runs()
        outbox = Quietly(runs.quiet_for, runs.work, within, LEFT)
        serving = asyncio.create_task(outbox.serve())
        await test(outbox, runs)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return runs

    return asyncio.run(serve())


async def until_worked(runs: Runs, times: int = 1) -> None:
    end = time.monotonic() + 10
    while len(runs.at_work) < times:
        assert time.monotonic() < end, "nothing was done"
        await asyncio.sleep(0.01)


def test_nobody_asks_and_nothing_is_done():
    async def test(_: Quietly, __: Runs) -> None:
        await asyncio.sleep(0.1)

    assert served(test).at_work == []


def test_where_no_run_is_under_way_it_is_done_soon():
    async def test(outbox: Quietly, runs: Runs) -> None:
        outbox.ask()
        await until_worked(runs)

    assert served(test).at_work == [0]


def test_those_who_ask_while_a_run_is_under_way_are_served_together_after_it():
    async def test(outbox: Quietly, runs: Runs) -> None:
        with runs.one():
            for _ in range(5):
                outbox.ask()
                await asyncio.sleep(0.02)
        await until_worked(runs)
        await asyncio.sleep(0.1)

    assert served(test).at_work == [0]


def test_runs_that_follow_each_other_at_once_are_not_disturbed_in_between(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(quietly, "QUIET", 1.0)  # nor on a machine that stands still for a moment

    async def test(outbox: Quietly, runs: Runs) -> None:
        for _ in range(20):  # each shorter than what is taken for quiet
            with runs.one():
                await asyncio.sleep(0.02)
                outbox.ask()
            await asyncio.sleep(0.01)
        assert runs.at_work == []
        await until_worked(runs)

    assert served(test, within=30.0).at_work == [0]


def test_under_runs_without_end_it_is_done_after_a_while():
    async def test(outbox: Quietly, runs: Runs) -> None:
        with runs.one():
            for times in (1, 2):
                outbox.ask()
                await until_worked(runs, times)

    assert served(test).at_work == [1, 1]


def test_who_asks_amid_the_work_is_served_by_the_next():
    async def serve() -> int:
        times = 0
        begun, again = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            nonlocal times
            times += 1
            begun.set()
            if times == 2:
                again.set()
            await asyncio.sleep(0.05)

        outbox = Quietly(lambda: math.inf, work, WITHIN, LEFT)
        serving = asyncio.create_task(outbox.serve())
        outbox.ask()
        await begun.wait()
        outbox.ask()
        await asyncio.wait_for(again.wait(), 10)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return times

    assert asyncio.run(serve()) == 2


@pytest.mark.parametrize("asked_again", [False, True])
def test_the_end_waits_for_what_is_under_way_and_does_what_was_asked_for_since(asked_again: bool):
    """Threads are not cancelled with who waits for them, and a process does not wait for them."""
    did: list[str] = []
    begun, may_end = threading.Event(), threading.Event()

    def in_thread() -> None:
        did.append("begun")
        begun.set()
        assert may_end.wait(10)
        did.append("done")

    async def serve() -> None:
        outbox = Quietly(lambda: math.inf, lambda: asyncio.to_thread(in_thread), WITHIN, LEFT)
        serving = asyncio.create_task(outbox.serve())
        outbox.ask()
        assert await asyncio.to_thread(begun.wait, 10)
        serving.cancel()
        if asked_again:
            outbox.ask()
        ending = asyncio.create_task(outbox.end())
        await asyncio.sleep(0.05)
        assert not ending.done()
        may_end.set()
        await asyncio.wait_for(ending, 10)
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(serve())
    assert did == ["begun", "done"] * (1 + asked_again)


def test_who_waits_for_the_end_no_longer_ends_nothing():
    async def serve() -> bool:
        may_end = asyncio.Event()
        done = asyncio.Event()

        async def work() -> None:
            await may_end.wait()
            done.set()

        outbox = Quietly(lambda: math.inf, work, WITHIN, LEFT)
        outbox.ask()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await outbox.end()
        may_end.set()
        await asyncio.wait_for(done.wait(), 10)
        return done.is_set()

    assert asyncio.run(serve())


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), RuntimeError("a bug")])
def test_work_that_fails_ends_nothing(error: Exception, caplog: pytest.LogCaptureFixture):
    async def serve() -> int:
        tries = 0
        tried = asyncio.Event()

        async def work() -> None:
            nonlocal tries
            tries += 1
            tried.set()
            raise error

        outbox = Quietly(lambda: math.inf, work, WITHIN, LEFT)
        serving = asyncio.create_task(outbox.serve())
        for _ in range(2):
            tried.clear()
            outbox.ask()
            await asyncio.wait_for(tried.wait(), 10)
        await asyncio.sleep(0.01)
        assert not serving.done()
        serving.cancel()
        outbox.ask()
        await outbox.end()
        return tries

    assert asyncio.run(serve()) == 3
    assert LEFT in caplog.text
