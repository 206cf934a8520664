"""What a dispatcher does while Prefect is away: it asks now and then, and says so once."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from deployments import absence as module
from deployments import dispatcher
from deployments.absence import FIRST_WAIT, LONGEST_WAIT, Absence
from deployments.dispatcher import Dispatcher
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.settings import Settings
from flows import hooks

AWAY = PrefectUnavailableError("no server answers")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    runtime = open_runtime(Settings(home=tmp_path / "home"))
    vars(runtime).update(store=InMemoryRunStore())
    monkeypatch.setattr(hooks, "_runtime", None)  # put back when the test is over
    return runtime


def test_each_further_time_it_waits_longer_and_says_no_more(caplog: pytest.LogCaptureFixture):
    absence = Absence()
    waits = [absence.note("no run could be started", AWAY) for _ in range(6)]
    assert waits == [FIRST_WAIT, 2.0, 4.0, 8.0, LONGEST_WAIT, LONGEST_WAIT]
    assert len(caplog.records) == 1
    absence.over()
    assert absence.note("no run could be started", AWAY) == FIRST_WAIT
    assert len(caplog.records) == 2


def test_what_nobody_said_is_over_is_another_absence_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    absence = Absence()
    waits = [absence.note("no run could be started", AWAY) for _ in range(3)]
    later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert absence.note("no run could be started", AWAY) == FIRST_WAIT < waits[-1]
    assert len(caplog.records) == 2


def test_no_slot_is_given_and_taken_back_without_end(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    asked: list[str] = []

    def away(name: str) -> Any:
        def ask(*_arguments: Any) -> None:
            asked.append(name)
            raise AWAY

        return ask

    async def drain() -> None:
        pass

    monkeypatch.setattr(dispatcher, "dispatch_next", away("dispatch"))
    monkeypatch.setattr(dispatcher, "sweep_prefect", away("obey"))
    monkeypatch.setattr(dispatcher, "_OBEY_EVERY", 0.05)
    monkeypatch.setattr(dispatcher, "drain", drain)
    monkeypatch.setattr(module, "FIRST_WAIT", LONGEST_WAIT)

    async def serve() -> None:
        stop = asyncio.Event()
        serving = asyncio.create_task(Dispatcher(runtime).serve(stop, lambda: True))
        async with asyncio.timeout(60):
            while asked.count("obey") < 3:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        stop.set()
        await serving

    with caplog.at_level(logging.WARNING, logger="factory.dispatcher"):
        asyncio.run(serve())
    assert asked.count("dispatch") == 1
    said = [record.getMessage() for record in caplog.records]
    assert sorted(one.partition(",")[0] for one in said) == [
        "no run could be started",
        "what was ended in Prefect goes on",
    ]
