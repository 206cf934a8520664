"""The Prefect server that the stack keeps: started again when it dies, but not for ever."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from prefect.settings import Settings as PrefectSettings

from deployments import kept
from deployments.kept import PrefectServer
from factory_runtime.settings import Settings

HOUR = 3600.0


class Mortal(PrefectServer):
    """A server whose every child ends at once."""

    starts = 0

    def start(self) -> None:
        self.starts += 1
        super().start()
        assert self._child is not None
        self._child.kill()
        self._child.wait()


@pytest.fixture
def server(tmp_path: Path) -> Generator[Mortal]:
    settings = Settings(home=tmp_path)
    settings.stack_folder.mkdir(parents=True)
    mortal = Mortal(settings)
    mortal.start()
    yield mortal
    mortal.stop()


def test_a_server_that_dies_again_and_again_is_given_up(server: Mortal):
    assert [server.revive() for _ in range(4)] == [True, True, True, False]
    assert server.starts == 4


def test_deaths_long_ago_do_not_count(server: Mortal, monkeypatch: pytest.MonkeyPatch):
    began = time.monotonic()
    for hour in range(10):
        now = began + hour * HOUR
        monkeypatch.setattr(kept.time, "monotonic", lambda now=now: now)
        assert server.revive()


def test_a_server_that_cannot_even_be_started_counts_as_one_more_death(
    server: Mortal, monkeypatch: pytest.MonkeyPatch
):
    def has_no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(kept.subprocess, "Popen", has_no_memory)
    assert [server.revive() for _ in range(4)] == [True, True, True, False]


def test_pages_ask_the_host_that_they_came_from_by_whatever_name_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PREFECT_UI_API_URL", raising=False)
    told = PrefectServer(Settings(home=tmp_path)).environment()
    for name in set(told) - set(os.environ):
        monkeypatch.setenv(name, told[name])
    assert PrefectSettings().server.ui.api_url == "/api"
