"""The warm worker ends, is killed, or loses its server: nothing is lost, and nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from factory_runtime.domain.run import RunStatus
from tests.executors import Nursery
from tests.factory import Factory
from tests.prefect_server import Prefect
from tests.warm_worker import PATIENCE, Door, WarmWorker
from tests.work_types import a_work_template, lines_of

pytestmark = pytest.mark.slow

PLAIN = "tests.warm_flows.plain"

Start = Callable[..., WarmWorker]


@pytest.fixture
def factory(tmp_path: Path, prefect: Prefect) -> Iterator[Factory]:
    factory = Factory(tmp_path, job_types=("tests.work_types",), prefect_api_url=prefect.api_url)
    yield factory
    factory.runtime.store.close()


@pytest.fixture
def start(factory: Factory, prefect: Prefect, nursery: Nursery, tmp_path: Path) -> Iterator[Start]:
    made: list[WarmWorker] = []

    def begin(pool: str, **options: Any) -> WarmWorker:
        environment = factory.environment() | options.pop("environment", {})
        worker = WarmWorker(environment, tmp_path, prefect, pool, nursery=nursery, **options)
        made.append(worker)
        worker.wait_until_started()
        return worker

    yield begin
    for worker in made:
        worker.close()


def test_a_worker_that_is_told_to_end_finishes_what_it_has_begun_and_begins_no_more(
    start: Start, prefect: Prefect, tmp_path: Path
):
    worker = start("ends", poll=1)
    plain, file = worker.deploy(PLAIN), tmp_path / "file"
    begun = worker.begin(plain, file=str(file), does="waits")
    worker.until(lambda: lines_of(file), "it has begun")
    below = worker.below()
    os.killpg(worker.process.pid, signal.SIGTERM)  # as a service manager does: to all of them
    worker.until(lambda: "claims no more" in worker.log, "it was heard")
    late = worker.begin(plain, file=str(tmp_path / "late"))
    Path(f"{file}.gate").touch()
    assert worker.end() == 0, worker.log
    assert prefect.state(begun)[0] == "COMPLETED"
    assert prefect.state(late)[0] == "SCHEDULED", "another worker begins it"
    assert not psutil.wait_procs(below, timeout=PATIENCE)[1]


@pytest.mark.soak
def test_a_worker_that_may_wait_no_longer_puts_its_runs_down(
    start: Start, factory: Factory, prefect: Prefect, tmp_path: Path
):
    worker = start("drains")
    step = f"name: a, type: sleep, with: {{child: true, seconds: 600, file: {tmp_path / 'job'}}}"
    factory.template("warm-drained", a_work_template("warm-drained", step))
    flow_run = worker.begin(worker.deploy("flows.templates.warm_drained", drain_seconds=0))
    worker.until(lambda: lines_of(tmp_path / "job"), "its job is at work")
    below = worker.below()
    worker.process.terminate()
    assert worker.end() == 0, worker.log
    assert not psutil.wait_procs(below, timeout=PATIENCE)[1], "nothing of it is left"
    with factory.runtime.store.begin("local", read_only=True) as tx:
        run = tx.find_run_by_flow_run(flow_run)
    assert run is not None
    assert (run.status, run.admitted_at) == (RunStatus.RUNNING, None), "it waits for a slot"
    assert prefect.state(flow_run) == ("PENDING", "Queued")


def test_a_worker_whose_processes_cannot_start_claims_nothing_and_ends_when_it_is_told(
    start: Start, prefect: Prefect, tmp_path: Path
):
    worker = start("broken", environment={"FACTORY_MAX_RUNNING_RUNS": "many"}, poll=1)
    waiting = worker.begin(worker.deploy(PLAIN), file=str(tmp_path / "file"))
    said = worker.log.count("no warm process could be started")
    # By then it was told of the flow run, and looked for some itself.
    worker.until(
        lambda: worker.log.count("no warm process could be started") >= said + 4, "it says so"
    )
    worker.process.terminate()
    assert worker.end() == 0, worker.log
    # Which the server may call Late by now.
    assert set(prefect.history(waiting)) <= {"Scheduled", "Late"}, "another worker begins it"


def test_a_worker_that_is_killed_leaves_no_process_and_no_flow_run_that_seems_to_run(
    start: Start, prefect: Prefect, tmp_path: Path
):
    worker = start("killed")
    file = tmp_path / "file"
    begun = worker.begin(worker.deploy(PLAIN), file=str(file), does="waits")
    worker.until(lambda: lines_of(file), "it has begun")
    below = worker.below()
    worker.process.kill()
    assert not psutil.wait_procs(below, timeout=PATIENCE)[1]
    assert prefect.state(begun)[0] == "CRASHED"


@pytest.mark.soak
def test_a_worker_outlives_its_server_s_outage_and_says_so_once(
    start: Start, prefect: Prefect, tmp_path: Path
):
    door = Door(prefect.api_url)
    worker = start("cut-off", api_url=door.api_url, poll=1)
    plain, file = worker.deploy(PLAIN), tmp_path / "file"
    begun = worker.begin(plain, file=str(file), does="waits")
    worker.until(lambda: lines_of(file), "it has begun")
    door.shut()
    worker.until(lambda: "does not answer, asking on" in worker.log, "it has noticed")
    meanwhile = worker.begin(plain, file=str(tmp_path / "meanwhile"))
    Path(f"{file}.gate").touch()
    door.open()
    assert worker.wait(begun) == "COMPLETED"
    assert worker.wait(meanwhile) == "COMPLETED"
    assert worker.log.count("asking on") == 1
    hanging = worker.begin(plain, file=str(tmp_path / "hanging"), does="waits")
    worker.until(lambda: lines_of(tmp_path / "hanging"), "it has begun")
    worker.cancel(hanging)
    worker.until(lambda: prefect.state(hanging)[0] == "CANCELLED", "cancels are heard again")
    below = worker.below()
    door.shut()
    worker.process.terminate()
    assert worker.end() == 0, "it ends, though nobody hears of it"
    assert not psutil.wait_procs(below, timeout=PATIENCE)[1]
