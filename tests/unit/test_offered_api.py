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
from deployments.kept import StackApi
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


def port_of(api: StackApi) -> int | None:
    return urlsplit(api.url).port


def told_at_last(settings: Settings) -> tuple[list[str], bool]:
    told: list[tuple[list[str], bool]] = []

    def tell(lines: Sequence[str], settled: bool) -> None:
        told.append((list(lines), settled))

    asyncio.run(OfferedApi(settings, "http://127.0.0.1:1/api", tell).keep())
    return told[-1]


def test_an_api_that_cannot_be_started_is_a_line_and_the_stack_is_settled(settings: Settings):
    (settings.stack_folder / "api.log").mkdir()
    (line,), settled = told_at_last(settings)
    assert settled
    assert line.startswith("no Factory API: ")


def test_an_api_that_ends_again_and_again_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(offered_api, "StackApi", NoApi)
    monkeypatch.setattr(offered_api, "_LOOK_EVERY", 0.01)
    (line,), settled = told_at_last(settings)
    assert settled
    assert "ends again and again" in line


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
