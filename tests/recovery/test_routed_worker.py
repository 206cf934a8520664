"""Jobs that go to another queue of a real Prefect server, and a worker there that is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    temporary_settings,
)

from cli.doctor import LOOKS
from cli.door import Door
from factory_runtime.domain.errors import RouteNotFoundError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.route import Route, parse_route
from factory_runtime.domain.run import RunStatus
from factory_runtime.orchestration.routes import ensure_route, find_route, is_attended
from factory_runtime.orchestration.sent_jobs import SentJobs
from factory_runtime.services.routed_job import begin_routed
from factory_runtime.services.topics import SEND_JOB
from tests.executors import Site
from tests.factory import until
from tests.prefect_server import Prefect
from tests.routed import PLACE, Routed
from tests.small_factory import SmallFactory, steps
from tests.warm_worker import WarmWorker
from tests.work_types import lines_of

pytestmark = pytest.mark.slow

ELSEWHERE = Route("elsewhere", "touches")


@pytest.fixture(autouse=True)
def _at(prefect: Prefect) -> Iterator[None]:
    """This process's Prefect talks to the server."""
    with temporary_settings(
        {PREFECT_API_URL: prefect.api_url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}
    ):
        yield


def test_a_killed_worker_of_another_queue_costs_its_job_one_attempt_and_doubles_nothing(
    a_site: Callable[..., Site], prefect: Prefect, tmp_path: Path
):
    site = a_site(job_routes={"touch": str(ELSEWHERE)})
    made = site.cli("deploy", "routes", "--json")
    assert made.returncode == 0, made.stderr
    (told,) = json.loads(made.stdout)["routes"]
    assert (told["route"], told["job_types"]) == (str(ELSEWHERE), ["touch"])
    look = LOOKS["routes"]("routes", Door(site.runtime, "local", json=False))
    assert (look.state, look.found) == ("warn", f"no worker looks at {ELSEWHERE}")
    gate = "begun: FILES/begun, gate_before: FILES/gate"
    site.work(
        "routed",
        f"name: far, type: touch, with: {{file: FILES/far, {gate}}}",
        "name: near, type: count, with: {file: FILES/near, to: 2}",
        "name: last, type: count, needs: [far, near], with: {file: FILES/last, to: 1}",
    )
    site.execute()
    first = WarmWorker(site.environment(), tmp_path, prefect, ELSEWHERE.pool)
    second = None
    try:
        run = site.request("routed", "p")
        first.until(lambda: lines_of(site.file("begun")), "the job is at work elsewhere")
        site.until_status(run, RunStatus.WAITING)
        far, near = site.jobs(run)["far"], site.jobs(run)["near"]
        assert (far.status, near.status) == (JobStatus.RUNNING, JobStatus.SUCCEEDED)
        assert site.walker(run) is None
        shown = site.cli("runs", "show", run.id).stdout
        assert f"waits for what it has sent to {ELSEWHERE}" in shown
        below = first.below()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        site.until(lambda: site.jobs(run)["far"].losses == 1, "its lease has run out")
        gone = psutil.wait_procs(below, 30)[1]
        assert not gone, "what it had started has gone with it"
        site.file("gate").touch()
        second = WarmWorker(site.environment(), tmp_path, prefect, ELSEWHERE.pool, poll=2)
        assert site.wait(run).status is RunStatus.SUCCEEDED, second.log
        assert lines_of(site.file("far")) == [f"{run.id}:far"]
        assert site.outcomes(run, "far") == ["lost", "succeeded"]
        assert site.jobs(run)["far"].failures == 0
    finally:
        for worker in (first, second):
            if worker is not None:
                worker.close()


# --- what is made in Prefect for a job that was sent


@pytest.fixture
def routed(tmp_path: Path) -> Iterator[Routed]:
    small = SmallFactory(tmp_path / "templates")
    yield Routed(small)
    small.store.close()


def deliver(routed: Routed) -> None:
    for message in routed.factory.messages(SEND_JOB):
        SentJobs(routed.factory.store).send(message)


def test_without_its_queue_a_job_waits_and_says_so_and_no_queue_is_made(
    routed: Routed, prefect: Prefect
):
    walk = routed.start(steps("ship:"))
    routed.send(walk, "ship")
    with pytest.raises(RouteNotFoundError):
        deliver(routed)
    job = routed.job(walk.run, "ship")
    assert job.status is JobStatus.WAITING
    assert f"cannot be sent to {PLACE}" in str(job.phrase)
    assert "factory deploy routes" in str(job.phrase)
    pools = prefect.ask("POST", "/work_pools/filter", {})
    assert PLACE.partition("/")[0] not in {pool["name"] for pool in pools}


def test_a_sent_job_has_one_flow_run_however_often_it_is_told_and_a_new_one_if_that_is_deleted(
    routed: Routed, prefect: Prefect
):
    route = parse_route("docs-pool/docs")
    assert ensure_route(route, "process") == ("pool made", "queue made", "deployment made")
    assert ensure_route(route, "factory") == ()
    assert not is_attended(route)
    walk = routed.start(steps("ship:"))
    routed.send(walk, "ship")
    deliver(routed)
    first = str(routed.job(walk.run, "ship").routed_flow_run_id)
    shown = prefect.flow_run(first)
    assert (shown["state_type"], shown["work_queue_name"]) == ("SCHEDULED", "docs")
    assert shown["parameters"] == {"job_id": routed.job(walk.run, "ship").id}
    deliver(routed)
    assert routed.job(walk.run, "ship").routed_flow_run_id == first
    prefect.delete(first)
    deliver(routed)
    second = str(routed.job(walk.run, "ship").routed_flow_run_id)
    assert second != first
    assert prefect.state(second)[0] == "SCHEDULED"
    assert begin_routed(routed.there, first) is None
    assert begin_routed(routed.there, second) is not None
    prefect.ask("PATCH", f"/deployments/{find_route(route)}", {"work_queue_name": "default"})
    with pytest.raises(RouteNotFoundError, match="another queue"):
        find_route(route)
    assert ensure_route(route, "process") == ("deployment mended",)
    find_route(route)


def test_killed_between_the_flow_run_and_its_note_the_next_try_finds_the_same(
    routed: Routed, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
):
    ensure_route(parse_route(PLACE), "process")
    walk = routed.start(steps("ship:"))
    routed.send(walk, "ship")

    def killed(*_: object) -> bool:
        return False

    with monkeypatch.context() as patch:
        patch.setattr(SentJobs, "_note", killed)
        deliver(routed)
    assert routed.job(walk.run, "ship").routed_flow_run_id is None
    body = {"flow_runs": {"name": {"any_": [f"{walk.run.id} ship"]}}, "sort": "ID_DESC", "limit": 9}
    (made,) = prefect.ask("POST", "/flow_runs/filter", body)
    assert made["state_type"] == "PENDING", "no worker begins it before we know of it"
    deliver(routed)
    assert routed.job(walk.run, "ship").routed_flow_run_id == made["id"]
    until(lambda: prefect.state(made["id"])[0] == "SCHEDULED", "workers may begin it")
