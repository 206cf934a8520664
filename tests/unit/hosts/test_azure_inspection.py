"""What `factory doctor` learns of Azure DevOps: who we are there, and what we lack."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory_runtime.domain.errors import HostBusyError, HostRejectedError
from factory_runtime.hosts.azure_devops.access import AzureDevOps, personal_token
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.delivery import AzureDevOpsDelivery
from factory_runtime.hosts.azure_devops.host import AzureDevOpsGitHost
from tests.forge import Forge, running_forge


@pytest.fixture
def forge(tmp_path: Path) -> Generator[Forge]:
    with running_forge(tmp_path / "forge") as running:
        yield running


def host_of(forge: Forge, token: str, mirrors: Path) -> AzureDevOpsGitHost:
    client = AzureDevOpsClient(AzureDevOps(forge.url, personal_token(token)))
    delivery = AzureDevOpsDelivery(client)
    return AzureDevOpsGitHost(client, mirrors, lambda: datetime.now(UTC), delivery)


def test_who_may_see_all_lacks_nothing_and_changes_nothing(forge: Forge, tmp_path: Path):
    found = host_of(forge, forge.add_token(), tmp_path).inspect("acme", "shop")
    assert found.lacks == ()
    assert found.who
    assert found.name.endswith("/fabrikam")
    assert (forge.repositories("shop"), forge.pipelines("shop")) == ([], [])
    assert forge.work_items("shop") == []


def test_each_permission_that_is_missing_is_named(forge: Forge, tmp_path: Path):
    token = forge.add_token("GenericRead", "Read")
    lacks = host_of(forge, token, tmp_path).inspect("acme", "shop").lacks
    assert len(lacks) == 2
    assert "build" in lacks[0]
    assert "work item" in lacks[1]


def test_a_project_that_is_not_there_is_named(forge: Forge, tmp_path: Path):
    found = host_of(forge, forge.add_token(), tmp_path).inspect("acme", "warehouse")
    assert found.lacks == (f"{found.name} has no project warehouse",)


def test_a_token_that_is_no_good_is_an_error(forge: Forge, tmp_path: Path):
    with pytest.raises(HostRejectedError, match="does not accept the token"):
        host_of(forge, forge.add_token(expired=True), tmp_path).inspect("acme", "shop")


def test_a_host_that_is_away_is_busy(forge: Forge, tmp_path: Path):
    forge.answer("connection", 503)
    with pytest.raises(HostBusyError):
        host_of(forge, forge.add_token(), tmp_path).inspect("acme", "shop")
