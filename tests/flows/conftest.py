"""One local stack for all the tests here: its Prefect server takes a while to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.factory import Factory


@pytest.fixture(scope="session")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A factory whose stack is up; each test uses projects of its own."""
    running = Factory(tmp_path_factory.mktemp("factory"))
    running.start()
    yield running
    running.stop()
