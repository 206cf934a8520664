"""What the contract tests of one port share."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from factory_runtime.domain.job import Job
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore
from tests.azure_offers import AzureOffered
from tests.builders import a_job, a_run
from tests.deliveries import MemoryDelivery, Offered
from tests.forge import running_forge
from tests.git_hosts import AzureOutside, LocalOutside, MemoryOutside, Outside
from tests.stored import added

_CROWDED = {
    "test_a_commit_that_comes_while_it_is_removed_is_in_it_or_refused",
    "test_of_many_who_remove_it_at_once_nobody_is_told_of_trouble",
    "test_those_who_take_back_one_commit_at_once_make_one_commit",
}


@pytest.fixture(params=["memory", "local", "azure-devops"])
def outside(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Outside]:
    match request.param:
        case "memory":
            yield MemoryOutside()
        case "local":
            yield LocalOutside(tmp_path)
        case _:
            with running_forge(tmp_path / "forge") as forge:
                yield AzureOutside(tmp_path, forge)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave some of what hosts do alike to `make soak`, of the one that costs the most.

    That is each hostile name and path, and how many who come at once are kept apart.
    """
    given: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    is_alike = len(given) > 1 or getattr(item, "originalname", "") in _CROWDED
    if given.get("outside") == "azure-devops" and is_alike:
        item.add_marker(pytest.mark.soak)


@pytest.fixture(params=["memory", "azure"])
def offered(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Offered]:
    if request.param == "memory":
        yield MemoryDelivery()
        return
    with running_forge(tmp_path / "forge") as forge:
        yield AzureOffered(forge)


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
