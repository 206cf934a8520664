"""The Factory API that `factory up` offers: what goes wrong with it is a line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deployments import offered_api
from deployments.executor import Standing
from deployments.kept import PrefectServer, StackApi, ready_file
from deployments.offered_api import OfferedApi
from deployments.stack import StackState, read_state
from factory_runtime.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    settings.stack_folder.mkdir(parents=True)
    return settings


class NoApi(StackApi):
    """A process that ends at once."""

    def words(self) -> list[str]:
        return ["this"]


class ReadyApi(StackApi):
    """A process that is there until nobody holds its input; whether it listens is not looked at."""

    def words(self) -> list[str]:
        return ["code"]

    @property
    def ready(self) -> bool:
        return True


def port_of(api: StackApi) -> int | None:
    return urlsplit(api.url).port


class EnoughError(BaseException):
    """Ends a test that has seen what it looks for."""


def told_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, rests: int
) -> tuple[list[tuple[str, ...]], list[float]]:
    """What is told while it is let be so many times, and for how many seconds each time."""
    told: list[tuple[str, ...]] = []
    rested: list[float] = []
    asleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds < 1:
            return await asleep(0.01)
        assert settled[-1]
        rested.append(seconds)
        if len(rested) == rests:
            raise EnoughError
        return None

    settled: list[bool] = []

    def tell(lines: Sequence[str], is_settled: bool) -> None:
        told.append(tuple(lines))
        settled.append(is_settled)

    monkeypatch.setattr("deployments.offered_api.asyncio.sleep", sleep)
    with pytest.raises(EnoughError):
        asyncio.run(OfferedApi(settings, "http://127.0.0.1:1/api", tell).keep())
    return told, rested


def test_an_api_that_cannot_be_started_is_a_line_and_the_stack_is_settled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    (settings.stack_folder / "api.log").mkdir()
    told, _ = told_of(settings, monkeypatch, rests=1)
    (line,) = told[-1]
    assert line.startswith("no Factory API: ")
    assert "; it is tried again at " in line


def test_an_api_that_ends_again_and_again_is_let_be_for_longer_each_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(offered_api, "StackApi", NoApi)
    told, rested = told_of(settings, monkeypatch, rests=2)
    (line,) = told[-1]
    assert "ends again and again" in line
    assert "; it is tried again at " in line
    assert rested == [60, 120]


def test_an_api_that_was_let_be_serves_when_it_can_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    (settings.stack_folder / "api.log").mkdir()
    lately: list[tuple[str, ...]] = []

    async def sleep(seconds: float) -> None:
        if seconds >= 1:
            (settings.stack_folder / "api.log").rmdir()  # somebody made room
        await asleep(0.01)

    def tell(lines: Sequence[str], _: bool) -> None:
        lately.append(tuple(lines))
        if lines and lines[0].startswith("Factory API: http://127.0.0.1:"):
            raise EnoughError

    asleep = asyncio.sleep
    monkeypatch.setattr(offered_api, "StackApi", ReadyApi)
    monkeypatch.setattr("deployments.offered_api.asyncio.sleep", sleep)
    offered = OfferedApi(settings, "http://127.0.0.1:1/api", tell)
    with pytest.raises(EnoughError):
        asyncio.run(offered.keep())
    asyncio.run(offered.end())
    assert [lines[0].partition(":")[0] for lines in lately if lines] == [
        "no Factory API",
        "Factory API",
    ]


def test_an_api_that_lives_is_not_started_beside_itself(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    looked: list[int] = []
    asleep = asyncio.sleep

    class Unseen(ReadyApi):
        @property
        def ready(self) -> bool:
            assert self._child is not None
            looked.append(self._child.pid)
            if len(looked) == 1:
                raise RuntimeError("nobody foresaw this")
            return True

    async def sleep(_: float) -> None:
        await asleep(0)

    def tell(lines: Sequence[str], _: bool) -> None:
        if lines and lines[0].startswith("Factory API: "):
            raise EnoughError

    monkeypatch.setattr(offered_api, "StackApi", Unseen)
    monkeypatch.setattr("deployments.offered_api.asyncio.sleep", sleep)
    offered = OfferedApi(settings, "http://127.0.0.1:1/api", tell)
    with pytest.raises(EnoughError):
        asyncio.run(offered.keep())
    asyncio.run(offered.end())
    assert looked == looked[:1] * 2


def test_a_file_that_somebody_wrote_into_says_nothing(settings: Settings):
    api = NoApi(settings, "http://127.0.0.1:1/api")
    api.start()
    ready_file(settings, "api").write_bytes(b"\xff")
    assert not api.ready
    api.stop()


def test_what_the_stack_says_of_itself_is_no_end_of_it_where_there_is_no_room(settings: Settings):
    standing = Standing(
        settings, StackState(os.getpid(), "starting", "http://127.0.0.1:1/api", True)
    )
    (settings.stack_folder / "stack.new").mkdir()
    standing.tell("ready")
    (settings.stack_folder / "stack.new").rmdir()
    standing.offer("api", ["here"], True)
    state = read_state(settings)
    assert state is not None
    assert (state.phase, state.offers) == ("ready", ("here",))


def test_a_port_that_cannot_be_written_down_keeps_nothing_from_starting(settings: Settings):
    (settings.stack_folder / "api-port").mkdir()
    api = NoApi(settings, "http://127.0.0.1:1/api")
    api.start()
    api.stop()
    assert port_of(api)


def test_a_port_that_somebody_chose_goes_before_that_of_last_time(settings: Settings):
    (settings.stack_folder / "api-port").write_text("4999")
    assert port_of(StackApi(settings, "")) == 4999
    chosen = Settings(home=settings.home, api_port=4998)
    assert port_of(StackApi(chosen, "")) == 4998


@pytest.mark.parametrize("written", ["", "many", "-1", "99999", "4280.5", "\udcff"])
def test_a_port_file_that_has_no_port_is_none(settings: Settings, written: str):
    place = settings.stack_folder / "api-port"
    place.write_text(written, errors="surrogateescape")
    assert port_of(StackApi(settings, "")) == settings.api_port


def test_a_stack_file_that_has_no_port_is_none(settings: Settings):
    (settings.stack_folder / "stack.json").write_text(
        '{"pid": 1, "phase": "ready", "api_url": "http://127.0.0.1:99999/api"}'
    )
    assert PrefectServer(settings).api_url.startswith("http://127.0.0.1:")
