"""What the contract tests of one port share."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.domain.job import Job
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore
from tests.builders import a_job, a_run
from tests.git_hosts import LocalOutside, MemoryOutside, Outside
from tests.stored import added


@pytest.fixture(params=["memory", "local"])
def outside(request: pytest.FixtureRequest, tmp_path: Path) -> Outside:
    return MemoryOutside() if request.param == "memory" else LocalOutside(tmp_path)


@pytest.fixture
def run(run_store: RunStore) -> Run:
    """One that stands in the store, without jobs."""
    return added(run_store, a_run())


@pytest.fixture
def job(run_store: RunStore) -> Job:
    """One that stands in the store, with a run of its own."""
    run = a_run()
    job = a_job(run)
    added(run_store, run, job)
    return job
