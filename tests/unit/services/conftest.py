from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.small_factory import SmallFactory


@pytest.fixture
def factory(tmp_path: Path) -> Generator[SmallFactory]:
    """A factory in memory with no template yet."""
    small = SmallFactory(tmp_path / "templates")
    yield small
    small.store.close()
