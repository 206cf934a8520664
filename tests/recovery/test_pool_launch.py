"""Runs that are launched into a work pool: one flow run each, that a worker finds its run by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    temporary_settings,
)

from deployments.executor import one_certificate
from deployments.launching import launcher_of
from factory_runtime.domain.run import Priority, Run, RunRequest, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.services.dispatch import dispatch_next
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.request_run import request_run
from factory_runtime.services.sweep import sweep, sweep_pool
from tests.factory import Factory, until
from tests.prefect_server import Prefect, flow_run_id
from tests.warm_prefect import warm_prefect
from tests.work_types import a_work_template, lines_of

pytestmark = pytest.mark.slow

POOL = "launched"
TENANT = "acme"
POOLS = Path(__file__).parents[2] / "deployments" / "pools"


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory, prefect: Prefect) -> Iterator[Factory]:
    """One that nobody dispatches for."""
    made = Factory(
        tmp_path_factory.mktemp("launched"),
        job_types=("tests.work_types",),
        prefect_api_url=prefect.api_url,
        work_pool=POOL,
    )
    step = f"name: touch, type: touch, with: {{file: '{made.templates.parent}/touched'}}"
    made.template("launched", a_work_template("launched", step))
    ours = {PREFECT_API_URL: prefect.api_url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}
    with temporary_settings(ours | {PREFECT_API_SSL_CERT_FILE: certificate_of(made)}):
        yield made
    made.runtime.store.close()


@pytest.fixture(autouse=True)
def _nothing_is_left(factory: Factory) -> Iterator[None]:
    yield
    runtime = factory.runtime
    for key in runtime.store.running_runs():
        cancel_run(runtime.store, runtime.clock, key.tenant_id, key.run_id, "tester")
    sweep(runtime.store, runtime.clock)


def certificate_of(factory: Factory) -> str:
    """As the executor has it: each client reads all of the system's, for a plain HTTP server."""
    return str(one_certificate(factory.settings.prefect_folder))


def ask(factory: Factory, template: str = "launched", **values: Any) -> Run:
    wanted = RunRequest(TENANT, "shop", template, {}, "tester", **values)
    return request_run(factory.runtime.desk, wanted)


def dispatch(factory: Factory) -> Run:
    runtime = factory.runtime
    launcher = launcher_of(runtime)
    run = dispatch_next(runtime.store, launcher, runtime.clock, 10, runtime.engine.worker)
    assert run is not None
    return run


def handed_over(factory: Factory, **values: Any) -> Run:
    asked = ask(factory, **values)
    run = dispatch(factory)
    assert run.id == asked.id
    return run


def execute(factory: Factory, prefect: Prefect, *flow_runs: str) -> str:
    """As Prefect's engine does in a process of its own; what it says of those that it left."""
    place = {
        "FACTORY_HOOKS": "false",  # or each imports LanceDB, and remembers the run
        "PREFECT_API_SSL_CERT_FILE": certificate_of(factory),
        "PREFECT_API_URL": prefect.api_url,
        "PREFECT_HOME": str(factory.settings.prefect_folder),
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    }
    environment = factory.environment() | place
    done = warm_prefect().run("tests.engine_process", *flow_runs, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_run_is_launched_from_its_tenant_s_deployment_into_the_queue_of_its_priority(
    factory: Factory, prefect: Prefect
):
    run = handed_over(factory, priority=Priority.HIGH)
    shown = prefect.flow_run(flow_run_id(run))
    deployment = prefect.ask("GET", f"/deployments/name/launched/{TENANT}")
    assert shown["deployment_id"] == deployment["id"]
    assert (shown["work_pool_name"], shown["work_queue_name"]) == (POOL, "high")
    assert shown["labels"]["factory.run-id"] == run.id
    assert deployment["schedules"] == []
    assert prefect.history(flow_run_id(run)) == ["Queued", "Scheduled"]
    record = factory.runtime.store.find_deployment(deployment["id"])
    assert record is not None
    assert record.tenant_id == TENANT


def test_launched_and_handed_over_twice_it_is_scheduled_once(factory: Factory, prefect: Prefect):
    run = handed_over(factory)
    launcher = launcher_of(factory.runtime)
    assert launcher.launch(run) == run.flow_run_id
    launcher.hand_over(run)
    assert prefect.history(flow_run_id(run)) == ["Queued", "Scheduled"]


def test_what_a_worker_begins_is_the_run_itself_and_asking_prefect_to_retry_it_changes_nothing(
    factory: Factory, prefect: Prefect
):
    run = handed_over(factory)
    flow_run, before = flow_run_id(run), _count(factory)
    execute(factory, prefect, flow_run)
    done = factory.run(run)
    assert done.status is RunStatus.SUCCEEDED, done.error
    until(lambda: prefect.state(flow_run)[0] == "COMPLETED", "Prefect hears of the end")
    again = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    prefect.ask("POST", f"/flow_runs/{flow_run}/set_state", again)
    execute(factory, prefect, flow_run)
    assert prefect.state(flow_run)[0] == "COMPLETED"
    assert factory.run(run) == done
    touched = lines_of(factory.templates.parent / "touched")
    assert touched.count(f"{run.id}:touch") == 1
    assert _count(factory) == before


def _count(factory: Factory) -> int:
    with factory.runtime.store.begin(TENANT, read_only=True) as tx:
        return tx.count_runs(RunFilter())


def test_a_deleted_flow_run_and_a_deleted_deployment_are_made_anew(
    factory: Factory, prefect: Prefect
):
    run = handed_over(factory)
    prefect.delete(flow_run_id(run))
    again = _taken_back_and_dispatched(factory, run)
    assert again.flow_run_id != run.flow_run_id
    prefect.force(flow_run_id(again), "CRASHED")
    deployment = prefect.flow_run(flow_run_id(again))["deployment_id"]
    prefect.ask("DELETE", f"/deployments/{deployment}")
    last = _taken_back_and_dispatched(factory, again)
    assert prefect.flow_run(flow_run_id(last))["deployment_id"] not in (None, deployment)
    assert prefect.state(flow_run_id(again)) == ("COMPLETED", "Replaced")
    assert prefect.state(flow_run_id(last))[0] == "SCHEDULED"


def test_one_that_crashed_before_it_came_to_its_run_is_scheduled_again(
    factory: Factory, prefect: Prefect
):
    run = handed_over(factory)
    prefect.force(flow_run_id(run), "CRASHED")
    again = _taken_back_and_dispatched(factory, run)
    assert again.flow_run_id == run.flow_run_id
    assert prefect.state(flow_run_id(run))[0] == "SCHEDULED"


def _taken_back_and_dispatched(factory: Factory, run: Run) -> Run:
    runtime = factory.runtime
    assert sweep_pool(runtime.store, runtime.clock, launcher_of(runtime)) == 1
    with runtime.store.begin(TENANT) as tx:
        assert tx.get_run(run.id).admitted_at is None
        tx.drop_set_aside(run.id)  # it would wait for seconds
    again = dispatch(factory)
    assert again.id == run.id
    return again


def test_a_cancelled_run_s_flow_run_is_begun_by_nobody(factory: Factory, prefect: Prefect):
    run = handed_over(factory)
    runtime = factory.runtime
    cancel_run(runtime.store, runtime.clock, TENANT, run.id, "ada")
    assert factory.run(run).status is RunStatus.CANCELLED
    execute(factory, prefect, flow_run_id(run))
    assert prefect.state(flow_run_id(run))[0] == "CANCELLED"
    assert f"{run.id}:touch" not in lines_of(factory.templates.parent / "touched")


def test_one_that_is_begun_without_a_slot_gets_it_and_after_a_wait_the_same_flow_run_goes_on(
    factory: Factory, prefect: Prefect
):
    gate, runtime = factory.templates.parent / "gate", factory.runtime
    step = f"name: wait, type: await, with: {{file: '{gate}', every: 600}}"
    factory.template("waits", a_work_template("waits", step))
    run = handed_over(factory, template="waits")
    with runtime.store.begin(TENANT) as tx:
        current = tx.lock_run(run.id)
        tx.save_run(current, current.changed(runtime.clock.now(), admitted_at=None))
        tx.unlock(f"run:{run.id}", "pool-dispatcher")
    assert "is Waiting" in execute(factory, prefect, flow_run_id(run))
    assert prefect.state(flow_run_id(run)) == ("PAUSED", "Waiting")
    gate.touch()
    _make_due(factory, run)
    assert dispatch(factory).flow_run_id == run.flow_run_id
    assert prefect.state(flow_run_id(run)) == ("SCHEDULED", "AwaitingRetry")
    execute(factory, prefect, flow_run_id(run))
    assert factory.run(run).status is RunStatus.SUCCEEDED


def _make_due(factory: Factory, run: Run) -> None:
    now = factory.runtime.clock.now()
    with factory.runtime.store.begin(TENANT) as tx:
        current = tx.lock_run(run.id)
        tx.save_run(current, current.changed(now, wake_at=now))
        (job,) = tx.list_jobs(run.id)
        tx.save_job(job, job.changed(now, not_before=now))


@pytest.mark.parametrize("kind", ["kubernetes", "azure-container-instance"])
def test_prefect_takes_the_base_job_templates_and_nobody_sets_a_command(
    prefect: Prefect, kind: str
):
    template = json.loads((POOLS / f"{kind}.json").read_text())
    wanted = {"name": f"of-{kind}", "type": kind, "base_job_template": template}
    prefect.ask("POST", "/work_pools/", wanted)  # refused where a placeholder has no variable
    assert not {"env", "command"} & set(template["variables"]["properties"])
