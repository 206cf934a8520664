"""The built-in microservice, made in Azure DevOps by who may, where their policy says so."""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from blocks import GitHostCredentials
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import RunStatus
from tests.factory import Factory
from tests.forge import Forge, running_forge
from tests.prefect_server import Prefect
from tests.recipes import DELIVERY

pytestmark = pytest.mark.slow


@pytest.fixture
def tenant() -> str:
    return f"azured-{token_hex(4)}"


@pytest.fixture
def forge(tmp_path: Path, prefect: Prefect, factory: Factory, tenant: str) -> Generator[Forge]:
    """One whose token a block holds, for a tenant whose policy names it."""
    del prefect
    document = f"git_host: block:{tenant}\n"
    digest = sha256(document.encode()).hexdigest()
    with factory.runtime.store.begin(tenant) as tx:
        now = factory.runtime.clock.now()
        tx.save_policy(PolicyRecord(tenant, 1, document, digest, now, "ada"))
    with running_forge(tmp_path / "forge") as running:
        given = {"kind": "azure-devops", "url": running.url, "token": running.add_token()}
        block = GitHostCredentials.model_validate({**given, "tenants": [tenant]})
        block.save(tenant)
        running.finish_builds_at_once()
        yield running


def test_a_microservice_is_made_at_the_host_that_its_tenant_s_policy_names(
    factory: Factory, forge: Forge, tenant: str
):
    given: dict[str, Any] = {"service_name": "orders", "entities": ["order"]}
    run = factory.complete("microservice", "shop", tenant, **given)
    assert run.status is RunStatus.SUCCEEDED, run.error
    repository, world = forge.repository("shop", "orders"), forge.world
    assert run.repo_id == repository.id
    assert [str(one) for one in world.definitions] == [run.pipeline_id]
    assert [str(one) for one in world.builds] == [run.build_id]
    assert [str(one) for one in world.work_items] == [run.work_item_id]
    (item,) = world.work_items.values()
    kinds = {one["url"].split("/")[3] for one in item["relations"]}
    assert kinds == {"Git", "Build"}  # as in vstfs:///Git/Commit/…
    said = repository.git("log", "--format=%(trailers:key=Factory-Step,valueonly)", "main")
    assert {*said.split(), *DELIVERY} == set(factory.jobs(run))
    with factory.runtime.store.begin(tenant, read_only=True) as tx:
        effects = tx.list_effects(run_id=run.id, limit=100)
    assert {one.status for one in effects} == {EffectStatus.CONFIRMED}
    assert not (factory.settings.git_folder / tenant).exists()
    other = factory.complete("microservice", "shop", **given)
    assert other.status is RunStatus.SUCCEEDED, other.error
    assert len(forge.world.repositories) == 1


def test_who_wants_the_repository_alone_says_so(factory: Factory, forge: Forge, tenant: str):
    given: dict[str, Any] = {"service_name": "orders", "deliver": False}
    run = factory.complete("microservice", "shop", tenant, **given)
    assert run.status is RunStatus.SUCCEEDED, run.error
    jobs = factory.jobs(run)
    assert {jobs[step].status for step in DELIVERY} == {JobStatus.SKIPPED}
    assert (forge.repositories("shop"), forge.pipelines("shop")) == (["orders"], [])
    assert (forge.builds("shop"), forge.work_items("shop")) == ([], [])


def test_without_a_pipeline_for_the_host_its_work_item_leads_to_the_commits(
    factory: Factory, forge: Forge, tenant: str
):
    given: dict[str, Any] = {"service_name": "orders", "pipelines": ["github-actions"]}
    run = factory.complete("microservice", "shop", tenant, **given)
    assert run.status is RunStatus.SUCCEEDED, run.error
    assert forge.pipelines("shop") == []
    (item,) = forge.work_items("shop")
    assert [one["url"].split("/")[3] for one in item["relations"]] == ["Git"]
