"""A small factory, and a memory that its jobs ask."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from factory_runtime.domain.memory import Kind
from factory_runtime.run_store import InMemoryRunStore
from tests.shelf import Shelf, keep, memory
from tests.small_factory import SmallFactory


@pytest.fixture
def factory(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[SmallFactory]:
    """In memory, or on SQLite where a test says so."""
    on_disk = getattr(request, "param", "memory") == "sqlite"
    store = request.getfixturevalue("sqlite_store") if on_disk else InMemoryRunStore()
    small = SmallFactory(tmp_path / "templates", store)
    yield small
    small.store.close()


@pytest.fixture
def shelf(factory: SmallFactory) -> Shelf:
    shelf = Shelf(factory.store)
    factory.engine = replace(factory.engine, recall=shelf.recall)
    keep(factory, memory("mem-1"), memory("mem-2", kind=Kind.FAILURE))
    return shelf
