"""The built-in microservice, made in Azure DevOps by who may, where their policy says so."""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from blocks import GitHostCredentials
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import RunStatus
from tests.factory import Factory
from tests.forge import Forge, running_forge
from tests.prefect_server import Prefect

pytestmark = pytest.mark.slow

TENANT = "azured"


@pytest.fixture
def forge(tmp_path: Path, prefect: Prefect, factory: Factory) -> Generator[Forge]:
    """One whose token a block holds, for a tenant whose policy names it."""
    del prefect
    document = "git_host: block:azured\n"
    digest = sha256(document.encode()).hexdigest()
    with factory.runtime.store.begin(TENANT) as tx:
        now = factory.runtime.clock.now()
        tx.save_policy(PolicyRecord(TENANT, 1, document, digest, now, "ada"))
    with running_forge(tmp_path / "forge") as running:
        given = {"kind": "azure-devops", "url": running.url, "token": running.add_token()}
        block = GitHostCredentials.model_validate({**given, "tenants": [TENANT]})
        block.save("azured", overwrite=True)
        yield running


def test_a_microservice_is_made_at_the_host_that_its_tenant_s_policy_names(
    factory: Factory, forge: Forge
):
    forge.finish_builds_at_once()
    given: dict[str, Any] = {"service_name": "orders", "entities": ["order"]}
    run = factory.complete("microservice", "shop", TENANT, **given, deliver=True)
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
    assert {*said.split(), "run-pipeline", "track"} == set(factory.jobs(run))
    with factory.runtime.store.begin(TENANT, read_only=True) as tx:
        effects = tx.list_effects(run_id=run.id, limit=100)
    assert {one.status for one in effects} == {EffectStatus.CONFIRMED}
    assert not (factory.settings.git_folder / TENANT).exists()
    other = factory.complete("microservice", "shop", **given)
    assert other.status is RunStatus.SUCCEEDED, other.error
    assert len(forge.world.repositories) == 1
