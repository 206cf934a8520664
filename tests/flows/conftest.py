"""One local stack for all the tests here: its Prefect server takes a while to start.

It ends with the last of them, and takes no time from others.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.factory import Factory


@pytest.fixture(scope="package")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A factory whose stack is up; each test uses projects of its own."""
    running = Factory(tmp_path_factory.mktemp("factory"), job_types=("tests.work_types",))
    running.start()
    yield running
    running.stop()
