"""The built-in saas-platform, from the request over the approval to the last repository, and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from factory_runtime.domain.errors import NotAllowedError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.approvals import decide
from factory_runtime.services.undo_run import Undoer
from tests.factory import Factory

pytestmark = pytest.mark.slow

PROJECT = "saas"
# Names that YAML would read as something else.
SERVICES = [{"name": "orders", "port": 9001}, {"name": "no"}, {"name": "null", "public": False}]
REPOSITORIES = {"shop-gateway", "shop-no", "shop-null", "shop-orders", "shop-platform"}


def repositories(factory: Factory, project: str = PROJECT) -> set[str]:
    folder = factory.settings.git_folder / "local" / project
    return {place.stem for place in folder.glob("*.git")}


def grant(factory: Factory, run: Run, person: str = "ada") -> None:
    runtime = factory.runtime
    with runtime.store.begin("local", read_only=True) as tx:
        (approval,) = tx.list_approvals(run_id=run.id)
    decide(runtime.store, runtime.clock, "local", approval.id, person, (), granted=True, comment="")


@pytest.fixture(scope="module")
def made(factory: Factory) -> Run:
    run = factory.request("saas-platform", PROJECT, platform="shop", services=SERVICES)
    waiting = factory.wait(run, RunStatus.WAITING)
    assert waiting.status is RunStatus.WAITING, waiting.error
    assert repositories(factory) == set(), "nothing is made before it is approved"
    grant(factory, run)
    return factory.wait(run)


@pytest.fixture(scope="module")
def clones(factory: Factory, made: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clones")
    for name in REPOSITORIES:
        url = factory.settings.git_folder / "local" / PROJECT / f"{name}.git"
        subprocess.run(["git", "clone", "--quiet", url, folder / name], check=True)
    return folder


def documents(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield document
            yield from document.get("items", ())


def test_an_approved_platform_has_a_repository_for_each_part(factory: Factory, made: Run):
    assert made.status is RunStatus.SUCCEEDED, made.error
    assert repositories(factory) == REPOSITORIES
    assert {job.status for job in factory.jobs(made).values()} == {JobStatus.SUCCEEDED}


def test_the_gateway_leads_to_every_public_service_and_to_no_other(clones: Path):
    manifests = list(documents(clones / "shop-gateway"))
    (gateway,) = (one for one in manifests if one["kind"] == "Gateway")
    routes = {one["metadata"]["name"]: one for one in manifests if one["kind"] == "HTTPRoute"}
    assert routes.keys() == {"orders", "no"}
    for name, route in routes.items():
        assert route["spec"]["parentRefs"] == [{"name": gateway["metadata"]["name"]}]
        assert route["spec"]["hostnames"] == [gateway["spec"]["listeners"][0]["hostname"]]
        (rule,) = route["spec"]["rules"]
        assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": f"/{name}"}}]
        service = clones / f"shop-{name}" / "kubernetes"
        (behind,) = (one for one in documents(service) if one["kind"] == "Service")
        assert rule["backendRefs"] == [
            {"name": behind["metadata"]["name"], "port": behind["spec"]["ports"][0]["port"]}
        ]


def test_all_parts_share_one_namespace_and_stand_in_the_catalog(clones: Path):
    owned = list(clones.glob("*/kubernetes/kustomization.yaml"))
    owned += clones.glob("*/infrastructure/kustomization.yaml")
    assert len(owned) == len(REPOSITORIES)
    for file in owned:
        kustomization = yaml.safe_load(file.read_text())
        assert kustomization["namespace"] == "shop"
        assert all((file.parent / name).is_file() for name in kustomization["resources"])
    entries = [yaml.safe_load((clones / n / "catalog-info.yaml").read_text()) for n in REPOSITORIES]
    assert {entry["metadata"]["name"] for entry in entries} == REPOSITORIES
    assert {entry["spec"]["system"] for entry in entries} == {"shop"}


@pytest.mark.parametrize("name", ["shop-no", pytest.param("shop-orders", marks=pytest.mark.soak)])
def test_a_generated_service_passes_its_own_tests_and_a_linter(clones: Path, name: str):
    for words in (["pytest", "-q", "-p", "no:cacheprovider"], ["ruff", "check", "--isolated"]):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=clones / name, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_who_asked_for_a_platform_cannot_approve_it(factory: Factory):
    run = factory.request("saas-platform", "saas-own", platform="own", services=[{"name": "one"}])
    factory.wait(run, RunStatus.WAITING)
    with pytest.raises(NotAllowedError):
        grant(factory, run, person="tester")
    assert repositories(factory, "saas-own") == set()


def test_a_platform_is_undone_to_the_last_repository(factory: Factory):
    project = "saas-undone"
    run = factory.request("saas-platform", project, platform="shop", services=SERVICES)
    factory.wait(run, RunStatus.WAITING)
    grant(factory, run)
    assert factory.wait(run).status is RunStatus.SUCCEEDED
    runtime = factory.runtime
    undoing = Undoer(runtime.store, runtime.storage, runtime.clock).undo("local", run.id, "ada")
    assert undoing is not None
    undone = factory.wait(undoing)
    assert undone.status is RunStatus.SUCCEEDED, undone.error
    assert repositories(factory, project) == set()
    with runtime.store.begin("local", read_only=True) as tx:
        effects = tx.list_effects(run_id=run.id)
    assert effects
    assert {effect.status for effect in effects} == {EffectStatus.UNDONE}
