"""Deployments that a dispatcher finds or makes, so that a run can be launched into a work pool."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deployments import launching, register
from deployments.launching import RecordedDeployments
from deployments.register import DeployOrder, deploy_template
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.errors import (
    FactoryError,
    HostRejectedError,
    LeaseLostError,
    PrefectFailedError,
    PrefectUnavailableError,
    StaleVersionError,
    UnknownTemplateError,
)
from factory_runtime.domain.run import Run
from factory_runtime.orchestration import deployed, launch
from factory_runtime.orchestration.launch import PoolLauncher
from factory_runtime.orchestration.prefect_api import GoneError
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.settings import Settings
from tests.builders import TENANT, a_run
from tests.recipes import a_source, a_template

NIGHTLY = "triggers: {schedule: {cron: '0 6 * * *', inputs: {name: nightly}}}\n"


class Deployments:
    """Those of a Prefect, by name; ``ask`` stands in for its API."""

    def __init__(self) -> None:
        self.shown: dict[str, dict[str, Any]] = {}

    def ask(self, method: str, path: str, body: Any = None, **names: Any) -> Any:
        if path == "/flows/":
            return {"id": str(uuid4())}
        if (method, path) == ("POST", "/deployments/"):
            made: dict[str, Any] = {
                "id": str(uuid4()),
                "schedules": [],
                "work_pool_name": None,
                **body,
            }
            self.shown[made["id"]] = made
            return made
        if path.startswith("/deployments/name/"):
            wanted = names["deployment_name"]
            found = [one for one in self.shown.values() if one["name"] == wanted]
        else:
            found = [one for one in self.shown.values() if one["id"] == names["id"]]
        if not found:
            raise GoneError("it is gone")
        (one,) = found
        if path.endswith("/schedules"):
            one["schedules"] += [{"id": str(uuid4()), **each} for each in body]
        elif method == "DELETE":
            one["schedules"] = [s for s in one["schedules"] if s["id"] != names["schedule_id"]]
        elif method == "PATCH":
            one.update(body)
        return one


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Deployments:
    prefect = Deployments()
    monkeypatch.setattr(deployed, "ask", prefect.ask)
    return prefect


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of those that were made sure of."""
    names: list[str] = []
    monkeypatch.setattr(launching, "ensure_work_pool", lambda name="factory": names.append(name))
    return names


@pytest.fixture
def runtime(tmp_path: Path, prefect: Deployments, pools: list[str]) -> Runtime:
    del prefect, pools
    runtime = open_runtime(Settings(home=tmp_path / "home", template_folders=(tmp_path,)))
    vars(runtime).update(store=InMemoryRunStore())
    _write(tmp_path, "nightly", NIGHTLY)
    return runtime


def _write(folder: Path, name: str, more: str = "") -> None:
    for path, text in {"template.yaml": a_template(name) + more, **a_source()}.items():
        place = folder / name / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(text))


def a_nightly_run(**values: Any) -> Run:
    """Of an older version than there is by now."""
    return a_run(**{"template_id": "nightly", "template_version": "0.9.0", **values})


def test_a_deployment_that_lost_its_pool_keeps_its_schedule(runtime: Runtime, prefect: Deployments):
    made = deploy_template(runtime, "nightly", DeployOrder(TENANT, "ada")).deployment.prefect_id
    prefect.shown[made]["work_pool_name"] = None
    before = list(prefect.shown[made]["schedules"])
    assert len(before) == 1
    assert RecordedDeployments(runtime, "factory").deployment_of(a_nightly_run()) == made
    assert prefect.shown[made]["work_pool_name"] == "factory"
    assert prefect.shown[made]["schedules"] == before


def test_one_that_a_dispatcher_makes_has_no_schedule(runtime: Runtime, prefect: Deployments):
    made = RecordedDeployments(runtime, "factory").deployment_of(a_nightly_run())
    assert prefect.shown[made]["work_pool_name"] == "factory"
    assert prefect.shown[made]["schedules"] == []


@pytest.mark.parametrize(
    "error",
    [
        GoneError("somebody deleted it just now"),
        StaleVersionError("recorded as somebody else's"),
        HostRejectedError("no package here brings Prefect's worker type"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_keeps_a_template_from_being_deployed_fails_no_run(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, error: FactoryError
):
    def broken(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(launching, "deploy_template", broken)
    with pytest.raises(PrefectFailedError, match=str(error)):
        RecordedDeployments(runtime, "factory").deployment_of(a_nightly_run())


def test_a_template_of_a_like_name_fails_no_run_that_was_accepted(runtime: Runtime, tmp_path: Path):
    for name in ("team-service", "team_service"):
        _write(tmp_path, name)
    with pytest.raises(PrefectFailedError, match="are one flow for Prefect"):
        RecordedDeployments(runtime, "factory").deployment_of(
            a_nightly_run(template_id="team-service")
        )


def test_a_run_of_a_template_that_is_gone_cannot_be_launched(runtime: Runtime):
    with pytest.raises(UnknownTemplateError):
        RecordedDeployments(runtime, "factory").deployment_of(a_nightly_run(template_id="gone"))


def test_that_prefect_is_away_is_said_as_it_is(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    def away(_name: str) -> None:
        raise PrefectUnavailableError("no server answers")

    monkeypatch.setattr(launching, "ensure_work_pool", away)
    with pytest.raises(PrefectUnavailableError, match="no server answers") as raised:
        RecordedDeployments(runtime, "factory").deployment_of(a_nightly_run())
    assert not isinstance(raised.value, PrefectFailedError)


def test_a_pool_that_somebody_deletes_is_made_again(
    runtime: Runtime, pools: list[str], monkeypatch: pytest.MonkeyPatch
):
    deployments = RecordedDeployments(runtime, "other")
    deployments.deployment_of(a_nightly_run())
    launcher = PoolLauncher(lambda _run: {}, "other", timedelta(minutes=5), deployments)

    def gone(*_arguments: Any) -> None:
        raise PrefectUnavailableError("Prefect answers /flow_runs/ with 404")

    monkeypatch.setattr(launch, "ask", gone)
    pools.clear()
    for _ in range(2):
        with pytest.raises(PrefectUnavailableError):
            launcher.launch(a_nightly_run())
    assert pools == ["other"], "the second launch made sure of it"


def test_a_dispatcher_does_not_wait_for_whoever_deploys_the_same(runtime: Runtime):
    store, now = runtime.store, runtime.clock.now()
    with store.begin(TENANT) as tx:
        assert tx.try_lock("deploy:nightly", "another:7-1", now, now + timedelta(hours=1))
    with pytest.raises(PrefectFailedError, match="somebody else deploys nightly"):
        RecordedDeployments(runtime, "factory").deployment_of(a_nightly_run())


def test_a_deploy_that_took_too_long_leaves_the_rest_to_who_came_after_it(
    runtime: Runtime, prefect: Deployments, monkeypatch: pytest.MonkeyPatch
):
    make = register.make_deployment

    def slowly(wanted: deployed.WantedDeployment) -> dict[str, Any]:
        made, later = make(wanted), runtime.clock.now() + timedelta(hours=1)
        with runtime.store.begin(TENANT) as tx:
            assert tx.try_lock("deploy:nightly", "another:7-1", later, later + timedelta(hours=1))
        return made

    monkeypatch.setattr(register, "make_deployment", slowly)
    with pytest.raises(LeaseLostError):
        deploy_template(runtime, "nightly", DeployOrder(TENANT, "ada"))
    (shown,) = prefect.shown.values()
    assert shown["work_pool_name"] is None
