"""The pool of warm processes: what is begun in it ends with it, and nothing holds it for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from deployments import warm_pool
from deployments.warm_pool import WarmPool
from deployments.warm_process import ProcessGoneError

# pyright: reportPrivateUsage=false


class Process:
    """One that does nothing until it is killed or closed."""

    def __init__(self, *, is_ready: bool = True) -> None:
        self._is_ready = is_ready
        self._gone = asyncio.Event()
        self.alive, self.busy, self.killed = True, False, False
        self.pid = self.runs = self.memory_mib = 0

    async def wait_until_ready(self) -> bool:
        if not self._is_ready:
            raise TimeoutError
        return True

    def tell(self, order: object) -> None:
        del order
        self.busy = True

    async def outcome(self) -> tuple[int, str | None]:
        return await self.wait_until_gone(), "killed"

    def kill(self) -> None:
        self.killed = True
        self.close()

    def close(self) -> None:
        self.alive = False
        self._gone.set()

    async def wait_until_gone(self) -> int:
        await self._gone.wait()
        return 1


def starting(monkeypatch: pytest.MonkeyPatch, process: Any, begin: asyncio.Event) -> None:
    async def start(context: object, tell_gone: object) -> Any:
        del context, tell_gone
        await begin.wait()
        return process

    monkeypatch.setattr(warm_pool, "start_process", start)


def test_a_process_that_comes_when_the_pool_is_closed_is_ended(monkeypatch: pytest.MonkeyPatch):
    async def closed() -> tuple[Process, WarmPool]:
        process, begin = Process(), asyncio.Event()
        starting(monkeypatch, process, begin)
        pool = WarmPool(1)
        pool.open()
        await asyncio.sleep(0)
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0.01)
        begin.set()
        await asyncio.wait_for(closing, 5)
        return process, pool

    process, pool = asyncio.run(closed())
    assert not process.alive
    assert not pool._all
    assert not pool._idle


def test_a_process_that_is_not_ready_in_time_is_killed(monkeypatch: pytest.MonkeyPatch):
    async def started() -> Process:
        process, begin = Process(is_ready=False), asyncio.Event()
        begin.set()
        starting(monkeypatch, process, begin)
        with pytest.raises(TimeoutError):
            await WarmPool(1)._started()
        return process

    assert asyncio.run(started()).killed


def test_hooks_that_never_end_are_killed_with_their_process(monkeypatch: pytest.MonkeyPatch):
    async def ran() -> Process:
        process, begin = Process(), asyncio.Event()
        begin.set()
        starting(monkeypatch, process, begin)
        monkeypatch.setattr(warm_pool, "_HOOKS_SECONDS", 0.05)
        pool = WarmPool(0)
        await asyncio.wait_for(pool.run_hooks(uuid4(), "on_crashed"), 5)
        await pool.close()
        return process

    assert asyncio.run(ran()).killed


def test_it_tells_when_it_has_a_process(monkeypatch: pytest.MonkeyPatch):
    async def told() -> None:
        process, begin, warm = Process(), asyncio.Event(), asyncio.Event()
        starting(monkeypatch, process, begin)
        pool = WarmPool(1, warm.set)
        pool.open()
        await asyncio.sleep(0.01)
        assert not pool.is_warm
        begin.set()
        await asyncio.wait_for(warm.wait(), 5)
        assert pool.is_warm
        await pool.close()

    asyncio.run(told())


def test_one_that_ends_at_once_is_no_process(monkeypatch: pytest.MonkeyPatch):
    class Gone(Process):
        async def wait_until_ready(self) -> bool:
            self.close()
            raise ProcessGoneError(1)

    async def tried() -> bool:
        begin = asyncio.Event()
        begin.set()
        starting(monkeypatch, Gone(), begin)
        pool = WarmPool(1)
        pool.open()
        await asyncio.sleep(0.05)
        is_warm = pool.is_warm
        await pool.close()
        return is_warm

    assert not asyncio.run(tried())


def test_those_that_end_before_they_were_of_use_are_replaced_ever_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def started() -> int:
        born: list[Process] = []

        async def start(context: object, tell_gone: Callable[[], None]) -> Any:
            del context
            born.append(Process())

            def is_killed(process: Process = born[-1]) -> None:
                process.close()
                tell_gone()

            asyncio.get_running_loop().call_later(0.01, is_killed)
            return born[-1]

        monkeypatch.setattr(warm_pool, "start_process", start)
        monkeypatch.setattr(warm_pool, "_START_AGAIN_SECONDS", 60.0)
        pool = WarmPool(1)
        pool.open()
        await asyncio.sleep(0.2)
        await asyncio.wait_for(pool.close(), 5)
        return len(born)

    assert asyncio.run(started()) == 1
    assert "ended while it had nothing to do" in caplog.text
