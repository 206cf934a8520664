"""The warm worker: flow runs begin at once, and what happens to one happens to no other."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    temporary_settings,
)

from deployments.pool_events import remind
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.dispatch import dispatch_next
from factory_runtime.services.sweep import sweep
from tests.factory import Factory
from tests.prefect_server import Prefect
from tests.warm_worker import LIMIT, PATIENCE, WarmWorker
from tests.work_types import a_work_template, lines_of

pytestmark = pytest.mark.slow

PLAIN = "tests.warm_flows.plain"


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory, prefect: Prefect) -> Iterator[Factory]:
    factory = Factory(
        tmp_path_factory.mktemp("warm"),
        job_types=("tests.work_types",),
        prefect_api_url=prefect.api_url,
        lease_seconds=2,
        hooks=False,  # each process would load LanceDB, and nothing here asks the memory
    )
    yield factory
    factory.runtime.store.close()


@pytest.fixture(scope="module")
def worker(factory: Factory, prefect: Prefect) -> Iterator[WarmWorker]:
    """One that looks for nothing by itself: what it begins, it has heard of."""
    worker = WarmWorker(factory.environment(), factory.templates.parent, prefect, "warm")
    worker.wait_until_started()
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def plain(worker: WarmWorker) -> str:
    return worker.deploy(PLAIN)


def at(prefect: Prefect) -> AbstractContextManager[object]:
    """Within, this process's Prefect talks to the server."""
    return temporary_settings(
        {PREFECT_API_URL: prefect.api_url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}
    )


def hooks_of(file: Path) -> list[str]:
    return [line.split(":")[0] for line in lines_of(f"{file}.hooks")]


def the_run(factory: Factory, flow_run_id: str) -> Run:
    with factory.runtime.store.begin("local", read_only=True) as tx:
        run = tx.find_run_by_flow_run(flow_run_id)
    assert run is not None
    return run


def test_a_process_serves_one_flow_run_after_the_other(
    worker: WarmWorker, plain: str, tmp_path: Path
):
    pids = {int(worker.complete(plain, tmp_path / "file")[0]) for _ in range(LIMIT + 1)}
    assert len(pids) <= LIMIT
    assert pids <= set(worker.warm())
    # They run once it is known as completed.
    worker.until(lambda: len(hooks_of(tmp_path / "file")) > LIMIT, "the hook of each ran")
    assert hooks_of(tmp_path / "file") == (LIMIT + 1) * ["Completed"]


def test_processes_come_from_a_server_of_one_thread_that_holds_no_lancedb(
    worker: WarmWorker, plain: str, tmp_path: Path
):
    worker.complete(plain, tmp_path / "file")
    server = worker.fork_server()
    assert server.num_threads() == 1, "a lock that another thread holds stays held in a fork"
    assert not [one.path for one in server.memory_maps() if "lance" in one.path]
    assert "processes start slowly" not in worker.log


def test_a_flow_leaves_its_process_where_it_was(worker: WarmWorker, plain: str, tmp_path: Path):
    wanderer, place, _ = worker.complete(plain, tmp_path / "file", does="wanders")
    # The next could begin in another one, but so many at once are in all of them.
    file = tmp_path / "next"
    waiting = [worker.begin(plain, file=str(file), does="waits") for _ in range(LIMIT)]
    worker.until(lambda: len(lines_of(file)) == LIMIT, "each process has one")
    Path(f"{file}.gate").touch()
    assert [worker.wait(flow_run) for flow_run in waiting] == LIMIT * ["COMPLETED"]
    assert f"{wanderer}:{place}:False" in lines_of(file)


def test_a_flow_run_that_was_made_for_later_is_told_of_when_it_is_due(
    worker: WarmWorker, prefect: Prefect, plain: str, tmp_path: Path
):
    async def told() -> None:
        due = asyncio.Event()
        async with get_client() as client:
            reminding = asyncio.create_task(remind(client, "warm", due.set))
            await asyncio.wait_for(due.wait(), PATIENCE)
            reminding.cancel()

    file = str(tmp_path / "file")
    with at(prefect):
        later = worker.begin(plain, file=file, starts_in=timedelta(seconds=5))
        asyncio.run(told())
    state = prefect.flow_run(later)["state"]
    assert datetime.fromisoformat(state["state_details"]["scheduled_time"]) <= datetime.now(UTC)


def test_a_crash_fails_its_own_flow_run_alone(
    worker: WarmWorker, prefect: Prefect, plain: str, tmp_path: Path
):
    other = worker.begin(plain, file=str(tmp_path / "other"), does="waits")
    dying = worker.begin(plain, file=str(tmp_path / "dying"), does="dies")
    assert worker.wait(dying) == "CRASHED"
    worker.until(lambda: hooks_of(tmp_path / "dying"), "its hook ran")
    (dead, *_), *_ = [line.split(":") for line in lines_of(tmp_path / "dying")]
    (told, pid), *_ = [line.split(":") for line in lines_of(f"{tmp_path / 'dying'}.hooks")]
    assert (told, pid != dead) == ("Crashed", True), "a hook that its own process could not run"
    assert prefect.history(dying).count("Crashed") == 1
    (tmp_path / "other.gate").touch()
    assert worker.wait(other) == "COMPLETED"
    worker.until(lambda: len(worker.warm()) == 2, "the dead process is replaced")


def test_a_flow_that_exits_ends_no_process(worker: WarmWorker, plain: str, tmp_path: Path):
    exits = worker.begin(plain, file=str(tmp_path / "file"), does="exits")
    assert worker.wait(exits) == "CRASHED"
    worker.complete(plain, tmp_path / "next")


def test_idle_processes_that_are_killed_are_replaced(
    worker: WarmWorker, plain: str, tmp_path: Path
):
    killed = worker.warm()
    for pid in killed:
        psutil.Process(pid).kill()
    # Though nobody asks for one: while none lives, nothing is claimed.
    worker.until(lambda: len(set(worker.warm()) - set(killed)) == len(killed), "others are there")
    assert int(worker.complete(plain, tmp_path / "file")[0]) not in killed


def test_a_cancelled_flow_run_stops_and_its_hook_runs_once(
    worker: WarmWorker, prefect: Prefect, plain: str, tmp_path: Path
):
    file = tmp_path / "file"
    hanging = worker.begin(plain, file=str(file), does="waits")
    worker.until(lambda: lines_of(file), "it has begun")
    worker.cancel(hanging)
    worker.until(lambda: prefect.state(hanging)[0] == "CANCELLED", "it is cancelled for good")
    assert hooks_of(file) == ["Cancelling"]
    assert int(lines_of(file)[0].split(":")[0]) in worker.warm(), "its process serves on"


@pytest.mark.parametrize(
    ("entrypoint", "parameters", "variables"),
    [
        pytest.param(PLAIN, {"does": "deaf"}, {"cancel_seconds": 0.5}, id="deaf"),
        pytest.param("tests.warm_flows.blocking", {}, {}, id="no-coroutine"),
    ],
)
def test_a_cancelled_flow_run_that_hears_nothing_is_ended_with_its_process(
    worker: WarmWorker,
    prefect: Prefect,
    tmp_path: Path,
    entrypoint: str,
    parameters: dict[str, Any],
    variables: dict[str, float],
):
    file = tmp_path / "file"
    hanging = worker.begin(worker.deploy(entrypoint, **variables), file=str(file), **parameters)
    worker.until(lambda: lines_of(file), "it has begun")
    worker.cancel(hanging)
    worker.until(lambda: prefect.state(hanging)[0] == "CANCELLED", "it is cancelled")
    assert hooks_of(file) == ["Cancelling"]
    assert int(lines_of(file)[0].split(":")[0]) not in worker.warm()


@pytest.mark.parametrize("limit", [{"max_runs": 1}, {"memory_limit_mib": 1}])
def test_a_process_that_has_had_its_time_is_replaced(
    worker: WarmWorker, tmp_path: Path, limit: dict[str, int]
):
    deployment = worker.deploy(PLAIN, **limit)
    one, other = (worker.complete(deployment, tmp_path / "file")[0] for _ in range(2))
    assert one != other


def test_an_environment_that_no_warm_process_can_be_given_is_refused(
    worker: WarmWorker, prefect: Prefect, tmp_path: Path
):
    deployment = worker.deploy(PLAIN, env={"COLOUR": "red"})
    flow_run = worker.begin(deployment, file=str(tmp_path / "file"))
    assert worker.wait(flow_run) == "CRASHED"
    assert "use a process pool" in prefect.flow_run(flow_run)["state"]["message"]
    assert not lines_of(tmp_path / "file")


def test_a_flow_that_is_not_there_fails_and_says_so(
    worker: WarmWorker, prefect: Prefect, plain: str, tmp_path: Path
):
    flow_run = worker.begin(worker.deploy("tests.warm_flows.withdrawn"))
    assert worker.wait(flow_run) == "FAILED"
    assert "'withdrawn'" in prefect.flow_run(flow_run)["state"]["message"]
    worker.complete(plain, tmp_path / "next")


def test_a_template_s_run_is_recorded_and_succeeds(worker: WarmWorker, factory: Factory):
    step = "name: a, type: sleep, with: {seconds: 0}"
    factory.template("warm-work", a_work_template("warm-work", step))
    flow_run = worker.begin(worker.deploy("flows.templates.warm_work"))
    assert worker.wait(flow_run) == "COMPLETED"
    run = the_run(factory, flow_run)
    assert (run.status, run.template_id) == (RunStatus.SUCCEEDED, "warm-work")


def test_a_template_s_run_that_is_cancelled_in_prefect_is_cancelled_in_order(
    worker: WarmWorker, factory: Factory, prefect: Prefect, tmp_path: Path
):
    step = f"name: a, type: sleep, with: {{child: true, seconds: 600, file: {tmp_path / 'job'}}}"
    factory.template("warm-long", a_work_template("warm-long", step))
    flow_run = worker.begin(worker.deploy("flows.templates.warm_long"))
    worker.until(lambda: lines_of(tmp_path / "job"), "the job is at work")
    worker.cancel(flow_run)
    assert worker.wait(flow_run) == "CANCELLED"
    assert the_run(factory, flow_run).status is RunStatus.CANCELLED
    assert not psutil.pid_exists(int(lines_of(tmp_path / "job")[0])), "nor does its child go on"
    assert "Crashed" not in prefect.history(flow_run)


def test_a_template_s_run_whose_process_died_is_taken_up_again(
    worker: WarmWorker, factory: Factory, prefect: Prefect, tmp_path: Path
):
    step = f"name: a, type: fatal, with: {{times: 1, file: {tmp_path / 'job'}}}"
    factory.template("warm-fatal", a_work_template("warm-fatal", step))
    flow_run = worker.begin(worker.deploy("flows.templates.warm_fatal"))
    assert worker.wait(flow_run) == "CRASHED"
    runtime = factory.runtime

    def swept() -> bool:
        sweep(runtime.store, runtime.clock)
        return the_run(factory, flow_run).admitted_at is None

    worker.until(swept, "the lease of the dead is over")

    def dispatched() -> bool:
        args = (runtime.store, runtime.launcher, runtime.clock)
        return dispatch_next(*args, cap=4, worker="tester") is not None

    with at(prefect):  # for a while, it is left to the process that began it
        worker.until(dispatched, "it has its turn")
    worker.until(lambda: the_run(factory, flow_run).ended, "it goes on in another process")
    assert the_run(factory, flow_run).status is RunStatus.SUCCEEDED
    assert len(lines_of(tmp_path / "job")) == 2


def test_a_worker_s_processes_hear_no_signal_but_the_worker_s(
    worker: WarmWorker, plain: str, tmp_path: Path
):
    before = worker.all_warm()
    for pid in before:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(pid, number)
    assert int(worker.complete(plain, tmp_path / "file")[0]) in before
    assert worker.all_warm() == before
