"""Fixtures of the system tests."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.run_store import SqlRunStore
from tests.cli_home import Factory
from tests.renders import Box, a_box
from tests.system.microservice import SERVICES, render_service


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each of the microservices, rendered once; tests only read them."""
    root = tmp_path_factory.mktemp("services")
    return {name: render_service(root / name, inputs) for name, inputs in SERVICES.items()}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box to render in, of which nothing may be left."""
    with a_box(tmp_path) as made:
        yield made


@pytest.fixture
def runtime(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Runtime]:
    """The runtime of a fresh home, which is also that of the environment."""
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACTORY_DATABASE_URL", sqlite_url)
    monkeypatch.chdir(tmp_path)
    runtime = open_runtime()
    yield runtime
    assert isinstance(runtime.store, SqlRunStore)
    runtime.store.close()


@pytest.fixture
def factory(capsys: pytest.CaptureFixture[str], runtime: Runtime) -> Factory:
    """Types `factory …` against that home, in this process."""
    return Factory(capsys, runtime)
