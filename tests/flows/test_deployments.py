"""Templates deployed to Prefect: their forms, queues and schedules, and what is put right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.errors import InputError, InvalidInputsError
from factory_runtime.domain.run import Priority
from factory_runtime.domain.template import Schedule
from factory_runtime.orchestration.deployed import WantedDeployment, make_deployment
from factory_runtime.orchestration.work_pool import ensure_work_pool
from factory_runtime.telemetry import worker_name
from tests.deployed import TENANT, deploy, deployed, start
from tests.factory import Factory
from tests.prefect_server import Prefect
from tests.recipes import a_source, a_template
from tests.warm_cli import nursery

pytestmark = pytest.mark.slow

SCHEDULED = "triggers: {{schedule: {{{times}, inputs: {{name: nightly}}}}}}\n"


def test_a_deployed_template_has_a_closed_form_and_a_record(
    factory: Factory, prefect: Prefect
) -> None:
    factory.template("formed", a_template("formed"), a_source())
    words = ("templates", "deploy", "formed", "--tenant", TENANT)
    said = factory.cli(*words, "--project", "shop", "--queue", "high", "--json")
    (answer,) = json.loads(said.stdout)["deployed"]
    shown = prefect.ask("GET", f"/deployments/{answer['prefect_id']}")
    assert answer["new"] is True
    assert shown["name"] == TENANT
    assert shown["entrypoint"] == "flows.templates.formed"
    assert shown["version"] == "1.0.0"
    assert (shown["work_pool_name"], shown["work_queue_name"]) == ("factory", "high")
    assert sorted(shown["tags"]) == ["project:shop", "template:formed", f"tenant:{TENANT}"]
    assert str(factory.templates / "formed" / "template.yaml") in shown["description"]
    assert shown["enforce_parameter_schema"] is True
    form = shown["parameter_openapi_schema"]
    assert form["additionalProperties"] is False
    assert [form["properties"][name]["position"] for name in ("name", "note")] == [0, 1]
    assert start(prefect, shown["id"], parameters={"name": 5}).status_code == 409
    assert start(prefect, shown["id"], parameters={"name": "a", "x": 1}).status_code == 409
    record = factory.runtime.store.find_deployment(shown["id"])
    assert record is not None
    assert (record.tenant_id, record.project_id) == (TENANT, "shop")
    assert (record.template_id, record.version) == ("formed", "1.0.0")
    assert record.priority is Priority.HIGH
    said = factory.cli(*words)  # its project and queue are as they were
    assert "formed/acme" in said.stdout
    assert "stood already" in said.stdout


def test_the_pool_has_a_queue_for_each_priority_in_their_order(prefect: Prefect) -> None:
    ensure_work_pool()
    prefect.ask("PATCH", "/work_pools/factory/queues/low", {"priority": 1})
    ensure_work_pool()
    queues = prefect.ask("POST", "/work_pools/factory/queues/filter", {})
    first = sorted((queue["priority"], queue["name"]) for queue in queues)[:3]
    assert [name for _, name in first] == ["high", "normal", "low"]
    pool = prefect.ask("GET", "/work_pools/factory")
    assert "env" in pool["base_job_template"]["variables"]["properties"]


def test_a_misspelt_queue_is_refused(factory: Factory, prefect: Prefect) -> None:
    ensure_work_pool()
    said = factory.cli("templates", "deploy", "--all", "--queue", "hihg")
    assert said.returncode == 2
    assert "did you mean 'high'?" in said.stderr
    queues = prefect.ask("POST", "/work_pools/factory/queues/filter", {})
    assert "hihg" not in {queue["name"] for queue in queues}


def test_deploying_again_repairs_what_was_edited_and_keeps_what_was_paused(
    factory: Factory, prefect: Prefect
) -> None:
    text = a_template("edited") + SCHEDULED.format(times="interval: 1h")
    factory.template("edited", text, a_source())
    first = deploy(factory, "edited", priority=Priority.HIGH)
    place = f"/deployments/{first.deployment.prefect_id}"
    (schedule,) = prefect.ask("GET", place)["schedules"]
    assert schedule["parameters"] == {"name": "nightly"}
    prefect.ask("PATCH", f"{place}/schedules/{schedule['id']}", {"active": False})
    theirs = {"schedule": {"cron": "0 0 * * *"}, "active": True, "slug": "theirs"}
    prefect.ask("POST", f"{place}/schedules", [theirs])
    before = prefect.ask("GET", place)
    edit: dict[str, Any] = {
        "tags": ["tenant:umbrella"],
        "description": "mine",
        "parameters": {"note": "mine"},
        "work_queue_name": "normal",
        "work_pool_name": "factory",
        "enforce_parameter_schema": False,
        "parameter_openapi_schema": {"type": "object", "properties": {}},
        "job_variables": {"env": {"FACTORY_TENANT": "umbrella"}},
        "paused": True,
    }
    prefect.ask("PATCH", place, edit)
    again = deploy(factory, "edited")
    assert again.is_new is False
    # Prefect forgets the inputs of a schedule that is paused: they are put back too.
    assert set(again.changed) == edit.keys() - {"work_pool_name", "paused"} | {"schedule"}
    shown = prefect.ask("GET", place)
    same = edit.keys() - {"paused"} | {"name", "id", "entrypoint", "version"}
    assert {name: shown[name] for name in same} == {name: before[name] for name in same}
    assert shown["paused"] is True
    active = {one["slug"]: one["active"] for one in shown["schedules"]}
    assert active == {"template": False, "theirs": True}
    inputs = {one["slug"]: one["parameters"] for one in shown["schedules"]}
    assert inputs == {"template": {"name": "nightly"}, "theirs": {}}
    assert deploy(factory, "edited").changed == ()


def test_a_schedule_follows_its_template(factory: Factory, prefect: Prefect) -> None:
    def schedules(version: str, times: str = "", **values: Any) -> dict[str, Any]:
        more = SCHEDULED.format(times=times) if times else ""
        factory.template("nightly", a_template("nightly", version=version) + more, a_source())
        prefect_id = deploy(factory, "nightly", **values).deployment.prefect_id
        found = prefect.ask("GET", f"/deployments/{prefect_id}")["schedules"]
        return {each["slug"]: each["schedule"] for each in found}

    def no_schedule(_: Any) -> None:
        return None

    assert schedules("1.0.0") == {}
    shown = schedules("1.1.0", "cron: '0 6 * * 1-5', timezone: Europe/Berlin")["template"]
    assert (shown["cron"], shown["timezone"]) == ("0 6 * * 1-5", "Europe/Berlin")
    assert schedules("1.2.0", "interval: 30m")["template"]["interval"] == 1800
    assert schedules("1.2.0", "interval: 30m", schedule_of=no_schedule) == {}
    assert schedules("1.2.0", "interval: 30m")["template"]["interval"] == 1800
    assert schedules("1.3.0") == {}


def test_a_schedule_without_what_its_runs_need_is_refused(factory: Factory) -> None:
    factory.template("needy", a_template("needy"), a_source())

    def hourly(_: Any) -> Schedule:
        return Schedule(interval=timedelta(hours=1))

    with pytest.raises(InvalidInputsError, match="needy cannot start by a schedule"):
        deploy(factory, "needy", schedule_of=hourly)


def test_two_deploys_at_once_leave_one(factory: Factory, prefect: Prefect) -> None:
    text = a_template("twice") + SCHEDULED.format(times="interval: 1h")
    factory.template("twice", text, a_source())
    words = ("templates", "deploy", "twice", "--tenant", TENANT, "--json")
    two = [
        subprocess.Popen(
            [nursery().factory, *words],
            env=factory.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [one.communicate(timeout=120) for one in two]
    assert [one.returncode for one in two] == [0, 0], said
    ids = {json.loads(out)["deployed"][0]["prefect_id"] for out, _ in said}
    found = prefect.ask("POST", "/deployments/filter", {"flows": {"name": {"any_": ["twice"]}}})
    assert [one["id"] for one in found] == list(ids)
    assert len(found[0]["schedules"]) == 1
    with factory.runtime.store.begin(TENANT, read_only=True) as tx:
        record = tx.find_deployment("twice")
    assert record is not None
    assert {record.prefect_id} == ids


def test_a_deploy_that_was_killed_is_gone_on_with(factory: Factory, prefect: Prefect) -> None:
    half = WantedDeployment(
        flow="halfway",
        name=TENANT,
        entrypoint="flows.templates.halfway",
        version="1.0.0",
        description="",
        tags=(),
        form={"type": "object", "properties": {}},
        queue="normal",
        schedule=None,
    )
    made = make_deployment(half)
    assert made["work_pool_name"] is None  # nobody has written down yet whose it is
    store, now = factory.runtime.store, factory.runtime.clock.now()
    with store.begin(TENANT) as tx:
        assert tx.try_lock("deploy:halfway", f"{gone_worker()}-1", now, now + timedelta(hours=1))
    assert deployed(factory, "halfway") == made["id"]
    shown = prefect.ask("GET", f"/deployments/{made['id']}")
    assert (shown["work_pool_name"], shown["work_queue_name"]) == ("factory", "normal")
    assert shown["parameter_openapi_schema"]["additionalProperties"] is False


def gone_worker() -> str:
    """The name of a process that was here."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return f"{worker_name().rpartition(':')[0]}:{child.pid}"


def test_a_template_that_another_hides_is_refused(factory: Factory) -> None:
    names = ("two-in-one", "two_in_one", "json")
    for name in names:
        factory.template(name, a_template(name), a_source())
    with pytest.raises(InputError, match="two-in-one and two_in_one are one flow"):
        deploy(factory, "two-in-one")
    with pytest.raises(InputError, match=r"flows\.templates\.json is taken"):
        deploy(factory, "json")
    for name in names:
        shutil.rmtree(factory.templates / name)
