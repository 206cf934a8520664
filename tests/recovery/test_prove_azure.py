"""`factory prove` with repositories, builds and work items in Azure DevOps: nothing is there twice."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks import GitHostCredentials
from tests.forge.control import ForgeElsewhere, forge_elsewhere
from tests.recovery.test_prove import SERVICE, Prover, failures

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(1200)]

PROJECTS = 100


@pytest.fixture
def forge(tmp_path: Path) -> Generator[ForgeElsewhere]:
    with forge_elsewhere(tmp_path / "forge") as elsewhere:
        for number in range(1, PROJECTS):
            elsewhere.call("add_project", f"prove-{number}")
        elsewhere.call("finish_builds_at_once")
        yield elsewhere


@pytest.fixture
def prover(tmp_path: Path, forge: ForgeElsewhere) -> Generator[Prover]:
    """One whose stack keeps a block for the forge."""
    made = Prover(tmp_path / "proving")
    state = made.factory.start()
    given = {"kind": "azure-devops", "url": forge.url, "token": forge.call("add_token")}
    with temporary_settings({PREFECT_API_URL: state.api_url}):
        GitHostCredentials.model_validate({**given, "tenants": ["local"]}).save("forge")
    yield made
    made.factory.stop()


def test_a_microservice_is_made_and_delivered_once_wherever_it_is_killed(prover: Prover):
    proved = prover.prove("microservice", SERVICE, "--git-host", "block:forge", seconds=1150)
    assert (proved.code, failures(proved)) == (0, {})
    made = {place[0]: set[str | None]() for place in proved.rows}
    for job, _, effect in proved.rows:
        made[job].add(effect)
    assert made["run-pipeline"] == {None, "pipeline", "build"}
    assert made["track"] == {None, "work-item"}
