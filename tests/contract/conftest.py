"""What the contract tests of one port share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.git_hosts import LocalOutside, MemoryOutside, Outside


@pytest.fixture(params=["memory", "local"])
def outside(request: pytest.FixtureRequest, tmp_path: Path) -> Outside:
    return MemoryOutside() if request.param == "memory" else LocalOutside(tmp_path)
