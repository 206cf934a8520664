"""Runs that begin in a deployment: whose they are, what gets past a form, and who executes them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from factory_runtime.domain.run import PREFECT, Priority, RunRequest, RunStatus
from factory_runtime.orchestration.work_pool import ensure_work_pool
from factory_runtime.services.catalog import BUILT_IN
from factory_runtime.services.request_run import request_run
from tests.deployed import (
    TENANT,
    deploy,
    deployed,
    execute,
    prefect_command,
    run_of,
    start,
    unrecorded,
)
from tests.factory import Factory, until
from tests.prefect_server import Prefect
from tests.recipes import a_source, a_template
from tests.warm_cli import nursery

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENDS = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
BUILT_IN_NAMES = {place.parent.name for place in BUILT_IN.glob("*/template.yaml")}


# --- whose a run is


def test_a_run_is_its_deployment_s_whatever_it_is_labelled(
    factory: Factory, prefect: Prefect
) -> None:
    prefect_id = deployed(factory, "owned", project_id="shop", priority=Priority.LOW)
    other = factory.request("owned", "elsewhere", tenant="umbrella", name="theirs")
    forged = start(
        prefect,
        prefect_id,
        parameters={"name": "mine", "note": None},
        labels={"factory.run-id": other.id, "factory.tenant-id": "umbrella"},
        tags=["tenant:umbrella"],
        enforce_parameter_schema=False,
    )
    execute(factory, forged)
    run = run_of(factory, forged)
    assert run is not None
    assert (run.tenant_id, run.project_id, run.priority) == (TENANT, "shop", Priority.LOW)
    assert run.requested_by == PREFECT
    assert factory.wait(run).status is RunStatus.SUCCEEDED
    flow_run_id = forged.json()["id"]
    until(lambda: prefect.state(flow_run_id)[0] == "COMPLETED", "Prefect hears of the end")
    assert factory.wait(other).flow_run_id != flow_run_id


def test_a_run_of_a_deployment_that_nobody_recorded_is_the_settings(
    factory: Factory, prefect: Prefect
) -> None:
    started = start(
        prefect, unrecorded(factory, prefect, "unrecorded"), parameters={"name": "plain"}
    )
    execute(factory, started)
    assert run_of(factory, started) is None
    run = run_of(factory, started, "of-the-settings")
    assert run is not None
    assert run.project_id == "of-the-settings"
    assert factory.wait(run).status is RunStatus.SUCCEEDED


def test_a_run_that_waited_is_the_same_for_a_dispatcher_with_other_settings(
    factory: Factory, prefect: Prefect
) -> None:
    started = start(prefect, unrecorded(factory, prefect, "patient"), parameters={"name": "later"})
    waits = RunRequest(
        tenant_id="of-the-settings",
        project_id="of-the-settings",
        template="patient",
        inputs={"name": "later"},
        requested_by=PREFECT,
        flow_run_id=started.json()["id"],
    )
    run = factory.wait(request_run(factory.runtime.desk, waits))
    assert run.status is RunStatus.SUCCEEDED
    assert run_of(factory, started, "of-the-settings") == run
    assert run_of(factory, started, factory.settings.tenant) is None


# --- what nobody checked before


def test_a_form_that_was_bypassed_fails_with_a_reason_and_a_record(
    factory: Factory, prefect: Prefect
) -> None:
    short = a_template("bypassed").replace("{name: {", "{name: {maxLength: 60, ")
    factory.template("bypassed", short, a_source())
    prefect_id = deploy(factory, "bypassed").deployment.prefect_id
    given: dict[str, dict[str, Any]] = {
        "5": {"name": 5},
        "name is missing": {},
        "x is not an input": {"name": "a", "x": 1},
        "a b is not an input": {"name": "a", "a b": 1, "": 2, "class": 3, "note-": None},
        "bad-input name": {"name": "x" * 500_000},
    }
    started = {
        said: start(prefect, prefect_id, parameters=one, enforce_parameter_schema=False)
        for said, one in given.items()
    }
    execute(factory, *started.values())
    for said, one in started.items():
        shown, run = prefect.flow_run(one.json()["id"]), run_of(factory, one)
        assert run is not None, shown["state"]
        assert (run.status, run.plan) == (RunStatus.FAILED, None)
        assert said in str(run.error)
        assert (shown["state_type"], shown["state_name"]) == ("FAILED", "Failed")
        assert f"{run.id} was refused" in shown["state"]["message"]
        assert said in shown["state"]["message"]
        assert len(shown["state"]["message"]) < 5000


def test_parameters_that_are_too_large_are_refused_by_prefect(
    factory: Factory, prefect: Prefect
) -> None:
    prefect_id = deployed(factory, "huge")
    parameters = {"name": "x" * 600_000}
    answer = start(prefect, prefect_id, parameters=parameters, enforce_parameter_schema=False)
    assert answer.status_code == 422


def test_a_withdrawn_template_s_runs_fail_with_a_reason_and_it_is_told(
    factory: Factory, prefect: Prefect
) -> None:
    prefect_id = deployed(factory, "with-drawn", "forgetful")
    started = start(prefect, prefect_id, parameters={"name": "late"})
    shutil.rmtree(factory.templates / "with-drawn")
    execute(factory, started)
    shown = prefect.flow_run(started.json()["id"])
    assert (shown["state_type"], shown["state_name"]) == ("FAILED", "Failed")
    assert "no template 'with-drawn'" in shown["state"]["message"]
    run = run_of(factory, started, "forgetful")
    assert run is not None
    assert run.status is RunStatus.FAILED
    said = subprocess.run(
        [nursery().factory, "templates", "deploy", "--all", "--tenant", "forgetful", "--json"],
        env=factory.environment() | {"FACTORY_TEMPLATE_FOLDERS": "[]"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    answer = json.loads(said.stdout)
    assert {one["template"] for one in answer["deployed"]} == BUILT_IN_NAMES
    assert [one["template_id"] for one in answer["gone"]] == ["with-drawn"]
    assert _withdrawn(factory, prefect_id)
    deployed(factory, "with-drawn", "forgetful")
    assert not _withdrawn(factory, prefect_id)


def _withdrawn(factory: Factory, prefect_id: str) -> bool:
    record = factory.runtime.store.find_deployment(prefect_id)
    assert record is not None
    return record.withdrawn_at is not None


# --- without any process of ours


EXECUTED = {
    "good": ({"name": "by-worker"}, RunStatus.SUCCEEDED, "COMPLETED"),
    "bad": ({"a b": 1}, RunStatus.FAILED, "FAILED"),
}


@pytest.mark.parametrize(
    "forms", [("good",), pytest.param(("good", "bad"), marks=pytest.mark.soak)]
)
def test_prefect_s_process_worker_executes_what_is_deployed(
    factory: Factory, prefect: Prefect, forms: list[str]
) -> None:
    """Each in three processes of Prefect's; that a bad one fails is shown above too."""
    low = Priority.LOW
    prefect_id = deployed(factory, "fall.back", priority=low)  # its dot is none of Python's
    expected = [EXECUTED[form] for form in forms]
    started = [
        start(prefect, prefect_id, parameters=parameters, enforce_parameter_schema=False)
        for parameters, _, _ in expected
    ]
    worker = ("worker", "start", "--pool", "factory", "--type", "process", "--run-once")
    done = prefect_command(factory, *worker, "--work-queue", low.value)
    assert done.returncode == 0, done.stderr
    for one, (_, status, shown) in zip(started, expected, strict=True):
        run = run_of(factory, one)
        assert run is not None, done.stdout
        assert factory.wait(run).status is status
        until(lambda one=one: prefect.state(one.json()["id"])[0] in ENDS, "Prefect hears of it")
        assert prefect.state(one.json()["id"])[0] == shown


def test_plain_prefect_deploys_all_of_the_project(
    factory: Factory, prefect: Prefect, tmp_path: Path
) -> None:
    ensure_work_pool()
    shutil.copy(ROOT / "prefect.yaml", tmp_path)
    done = prefect_command(factory, "deploy", "--all", cwd=tmp_path, warm=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in BUILT_IN_NAMES:
        shown = prefect.ask("GET", f"/deployments/name/{name}/local")
        assert shown["entrypoint"] == f"flows.templates.{name.replace('-', '_')}"
        assert shown["work_queue_name"] == "normal"
        assert not shown["pull_steps"]
        assert shown["version"] == factory.runtime.catalog.load(name).version
    upkeep = {"sweep": 30, "hand-over": 60, "index-memory": 300, "optimize-memory": 3600}
    started = [begin_now(prefect, name, seconds) for name, seconds in upkeep.items()]
    execute(factory, *started)
    for one in started:
        assert prefect.state(one.json()["id"])[0] == "COMPLETED"
    # Deployed again, what somebody has paused stays so.
    done = prefect_command(factory, "deploy", "-n", "sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (schedule,) = prefect.ask("GET", "/deployments/name/sweep/sweep")["schedules"]
    assert (schedule["active"], schedule["schedule"]["interval"]) == (False, 30)


def begin_now(prefect: Prefect, name: str, seconds: int) -> httpx.Response:
    """Start a flow of the upkeep, whose schedule is paused as a person does it."""
    shown = prefect.ask("GET", f"/deployments/name/{name}/{name}")
    (schedule,) = shown["schedules"]
    assert (schedule["active"], schedule["schedule"]["interval"]) == (True, seconds)
    place = f"/deployments/{shown['id']}/schedules/{schedule['id']}"
    prefect.ask("PATCH", place, {"active": False})
    return start(prefect, shown["id"])
