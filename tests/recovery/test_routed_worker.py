"""Jobs that go to another queue of a real Prefect server, and a worker there that is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    temporary_settings,
)

from cli.desk.local import LocalDesk
from cli.doctor import LOOKS
from cli.door import StoreDoor
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.errors import ConflictError, RouteNotFoundError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.route import Route, parse_route
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration.routes import ensure_route, find_route, is_attended
from factory_runtime.orchestration.sent_jobs import SentJobs
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.routed_job import begin_routed
from factory_runtime.services.topics import SEND_JOB
from tests.executors import Nursery, Site
from tests.factory import until
from tests.prefect_server import Prefect
from tests.routed import PLACE, Routed
from tests.small_factory import SmallFactory, steps
from tests.warm_worker import WarmWorker
from tests.work_types import lines_of

pytestmark = pytest.mark.slow

ELSEWHERE = Route("elsewhere", "touches")


@pytest.fixture(scope="module", autouse=True)
def _at(prefect: Prefect) -> Iterator[None]:
    """This process's Prefect talks to the server."""
    with temporary_settings(
        {PREFECT_API_URL: prefect.api_url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}
    ):
        yield


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, nursery: Nursery, prefect: Prefect
) -> Iterator[Site]:
    """One whose jobs of type ``touch`` go elsewhere; it has an executor."""
    routes = {"touch": str(ELSEWHERE)}
    site = Site(tmp_path_factory.mktemp("routed"), nursery, prefect, job_routes=routes)
    gates = "begun: FILES/begun, gate_before: FILES/gate, left: FILES/left"
    site.work(
        "routed",
        f"name: far, type: touch, with: {{file: FILES/far, {gates}}}",
        "name: near, type: count, with: {file: FILES/near, to: 2}",
        "name: last, type: count, needs: [far, near], with: {file: FILES/last, to: 1}",
    )
    site.execute()
    yield site
    site.close()


@pytest.fixture(scope="module")
def place(site: Site) -> Path:
    """The folder of the site, once the other queue is made."""
    made = site.cli("deploy", "routes", "--json")
    assert made.returncode == 0, made.stderr
    (told,) = json.loads(made.stdout)["routes"]
    assert (told["route"], told["job_types"]) == (str(ELSEWHERE), ["touch"])
    look = LOOKS["routes"]("routes", StoreDoor(LocalDesk(site.runtime, "local"), json=False))
    assert (look.state, look.found) == ("warn", f"no worker looks at {ELSEWHERE}")
    return site.templates.parent


@pytest.fixture(scope="module")
def worker(site: Site, prefect: Prefect, nursery: Nursery, place: Path) -> Iterator[WarmWorker]:
    """A worker of the other queue."""
    worker = WarmWorker(site.environment(), place, prefect, ELSEWHERE.pool, nursery=nursery)
    yield worker
    worker.close()


@pytest.fixture
def run(site: Site, worker: WarmWorker) -> Iterator[Run]:
    """A run that waits without a process, for a job that is at work elsewhere."""
    for name in ("begun", "far", "near", "left", "last", "gate"):
        site.file(name).unlink(missing_ok=True)
    run = site.request("routed", "p")
    worker.until(lambda: lines_of(site.file("begun")), "the job is at work elsewhere")
    waiting = site.until_status(run, RunStatus.WAITING)
    far, near = site.jobs(run)["far"], site.jobs(run)["near"]
    assert (far.status, near.status) == (JobStatus.RUNNING, JobStatus.SUCCEEDED)
    assert site.walker(run) is None
    yield waiting
    runtime = site.runtime
    with suppress(ConflictError):  # mostly it has ended
        cancel_run(runtime.store, runtime.clock, run.tenant_id, run.id, "tester")


def test_a_killed_process_of_another_queue_costs_its_job_one_attempt_and_doubles_nothing(
    site: Site, worker: WarmWorker, run: Run
):
    shown = site.cli("runs", "show", run.id).stdout
    assert f"waits for what it has sent to {ELSEWHERE}" in shown
    assert f"sent to  {ELSEWHERE}" in site.cli("jobs", "show", run.id, "far").stdout
    (attempt,) = attempts_of(site, run)
    pid = int(attempt.worker.rpartition(":")[2])
    assert pid in {one.pid for one in worker.below()}
    psutil.Process(pid).kill()
    site.until(lambda: site.jobs(run)["far"].losses == 1, "its lease has run out")
    site.file("gate").touch()
    assert site.wait(run).status is RunStatus.SUCCEEDED, worker.log
    assert lines_of(site.file("far")) == [f"{run.id}:far"]
    assert site.outcomes(run, "far") == ["lost", "succeeded"]
    assert site.jobs(run)["far"].failures == 0


def test_who_cancels_its_flow_run_in_prefect_cancels_the_run(
    site: Site, worker: WarmWorker, prefect: Prefect, run: Run
):
    flow_run_id = str(site.jobs(run)["far"].routed_flow_run_id)
    worker.cancel(flow_run_id)
    assert site.wait(run).status is RunStatus.CANCELLED
    assert {job.status for job in site.jobs(run).values()} == {
        JobStatus.SUCCEEDED,
        JobStatus.CANCELLED,
    }
    site.file("gate").touch()
    worker.until(lambda: lines_of(site.file("left")), "the job has stopped")
    assert worker.wait(flow_run_id) == "CANCELLED"
    assert not lines_of(site.file("far"))


def test_a_run_that_is_at_other_work_goes_on_behind_what_was_done_elsewhere(
    site: Site, worker: WarmWorker
):
    site.work(
        "beside",
        "name: far, type: touch, with: {file: FILES/beside}",
        "name: near, type: sleep, with: {seconds: 600}",
        "name: behind, type: count, needs: [far], with: {file: FILES/behind, to: 1}",
    )
    run = site.request("beside", "p")
    worker.until(lambda: site.jobs(run)["behind"].ended, "what is behind it is done")
    statuses = {step: job.status for step, job in site.jobs(run).items()}
    assert statuses["near"] is JobStatus.RUNNING
    assert statuses["behind"] is JobStatus.SUCCEEDED
    assert site.run(run).status is RunStatus.RUNNING
    runtime = site.runtime
    cancel_run(runtime.store, runtime.clock, run.tenant_id, run.id, "tester")
    assert site.wait(run).status is RunStatus.CANCELLED


def test_a_worker_that_is_told_to_end_gives_its_job_back(site: Site, worker: WarmWorker, run: Run):
    """The last of these: it ends the worker."""
    worker.process.send_signal(signal.SIGTERM)
    site.file("gate").touch()
    assert worker.end() == 0
    ended = site.jobs(run)["far"]
    if not ended.ended:  # it had no safe point, and was not quick enough
        assert (ended.lease_owner, ended.losses) == (None, 0)


def attempts_of(site: Site, run: Run) -> tuple[Attempt, ...]:
    with site.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.list_attempts(run.id, "far")


@pytest.mark.soak
def test_a_killed_worker_takes_what_it_does_with_it_and_another_one_does_it(
    site: Site, prefect: Prefect, place: Path
):
    second = None
    first = WarmWorker(site.environment(), place, prefect, ELSEWHERE.pool)
    for name in ("begun", "far", "gate"):
        site.file(name).unlink(missing_ok=True)
    try:
        run = site.request("routed", "p")
        first.until(lambda: lines_of(site.file("begun")), "the job is at work elsewhere")
        below = first.below()
        first.process.kill()
        first.process.wait()
        site.until(lambda: site.jobs(run)["far"].losses == 1, "its lease has run out")
        assert not psutil.wait_procs(below, 30)[1], "what it had started is gone"
        site.file("gate").touch()
        second = WarmWorker(site.environment(), place, prefect, ELSEWHERE.pool)
        assert site.wait(run).status is RunStatus.SUCCEEDED, second.log
        assert lines_of(site.file("far")) == [f"{run.id}:far"]
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
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SentJobs, "_note", killed)
        with pytest.raises(KeyboardInterrupt):
            deliver(routed)
    assert routed.job(walk.run, "ship").routed_flow_run_id is None
    body = {"flow_runs": {"name": {"any_": [f"{walk.run.id} ship"]}}, "sort": "ID_DESC", "limit": 9}
    (made,) = prefect.ask("POST", "/flow_runs/filter", body)
    assert made["state_type"] == "PENDING", "no worker begins it before we know of it"
    deliver(routed)
    assert routed.job(walk.run, "ship").routed_flow_run_id == made["id"]
    until(lambda: prefect.state(made["id"])[0] == "SCHEDULED", "workers may begin it")
