from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from factory_runtime.telemetry import worker_name
from tests.small_factory import SmallFactory


@pytest.fixture
def factory(tmp_path: Path) -> Generator[SmallFactory]:
    """A factory in memory with no template yet."""
    small = SmallFactory(tmp_path / "templates")
    yield small
    small.store.close()


@pytest.fixture(scope="session")
def dead() -> str:
    """A worker of this machine that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    machine, _, _ = worker_name().rpartition(":")
    return f"{machine}:{child.pid}"
