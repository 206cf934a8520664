"""Runs that are retried, and paused or cancelled as they end, in one process that goes on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from factory_runtime.domain.errors import ConflictError, IllegalTransitionError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.retry_run import retry_job, retry_run
from tests.executors import Nursery, Site
from tests.prefect_server import Prefect
from tests.recovery.conftest import POSTGRES_IN_SOAK
from tests.steering import by_service, in_prefect, settle, steer
from tests.work_types import lines_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, nursery: Nursery, prefect: Prefect
) -> Iterator[Site]:
    """One with an executor, for tests that let it live."""
    site = Site(tmp_path_factory.mktemp("steered"), nursery, prefect)
    site.execute()
    yield site
    site.close()


# Waiting


def test_a_long_retry_after_is_waited_for_without_a_process(site: Site):
    site.work("away", "name: a, type: flaky, with: {file: FILES/away, times: 1, retry_after: 30}")
    run = site.request("away", "away")
    waiting = site.until_status(run, RunStatus.WAITING)
    job = site.jobs(run)["a"]
    assert job.not_before is not None
    assert waiting.wake_at == job.not_before
    assert (job.not_before - job.updated_at).total_seconds() >= 30
    site.until(lambda: site.walker(run) is None, "nobody holds it")
    site.make_due(run)
    assert site.wait(run).status is RunStatus.SUCCEEDED
    assert lines_of(site.file("away")) == ["1", "2"]
    assert site.outcomes(run, "a") == ["transient-error", "succeeded"]
    site.until_shown(run, "COMPLETED", "Completed")


def test_short_delays_are_prefects_own_retries(site: Site):
    site.work("flaky", "name: a, type: flaky, with: {file: FILES/asked, times: 2}")
    run = site.complete("flaky", "flaky")
    assert run.status is RunStatus.SUCCEEDED
    assert site.outcomes(run, "a") == ["transient-error", "transient-error", "succeeded"]
    assert site.jobs(run)["a"].failures == 2
    site.until_shown(run, "COMPLETED", "Completed")

    def told() -> list[str]:
        mine = {
            "flow_runs": {"id": {"any_": [str(run.flow_run_id)]}},
            "sort": "ID_DESC",
            "limit": 9,
        }
        task_runs = site.server.ask("POST", "/task_runs/filter", mine)
        if not task_runs:
            return []  # it is told of task runs after the run, in batches
        (one,) = task_runs
        found = site.server.ask("GET", f"/task_run_states/?task_run_id={one['id']}")
        return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def is_told() -> bool:
        if told()[-1:] == ["Completed"]:
            return True
        time.sleep(0.2)
        return False

    site.until(is_told, "Prefect has heard of the task's end")
    assert told().count("AwaitingRetry") == 2, told()
    assert told().count("Retrying") == 2, told()


# Pausing and cancelling


def test_a_run_that_is_paused_as_it_ends_has_ended_or_is_paused_and_goes_on(site: Site):
    moments = random.Random(20260104)  # noqa: S311 - repeatable, not secret
    site.work("short", "name: a, type: sleep, with: {seconds: 0.2}")
    runs = [site.request("short", f"short-{n}") for n in range(6)]

    def pause(run: Run, after: float) -> None:
        site.wait(run, RunStatus.RUNNING)
        time.sleep(after)
        with suppress(IllegalTransitionError):
            steer(site, pause_run, run)

    with ThreadPoolExecutor(len(runs)) as pool:
        for run in runs:
            pool.submit(pause, run, moments.uniform(0, 0.5))
    for run in runs:
        if site.wait(run, RunStatus.PAUSED).status is RunStatus.PAUSED:
            steer(site, resume_run, run)
        assert site.wait(run).status is RunStatus.SUCCEEDED
        assert site.outcomes(run, "a") == ["succeeded"]
        site.until_shown(run, "COMPLETED", "Completed")


@pytest.mark.parametrize("times", [4, pytest.param(80, marks=pytest.mark.soak)])
def test_a_run_cancelled_as_it_ends_ends_once_and_alike_in_both(site: Site, times: int):
    moments = random.Random(20260105)  # noqa: S311 - repeatable, not secret
    site.work("brief", "name: a, type: sleep, with: {seconds: 0.4}",
              "name: b, type: touch, needs: [a], with: {file: FILES/lines}")  # fmt: skip
    runs = [site.request("brief", f"brief-{n}") for n in range(times)]

    def cancel(run: Run, number: int, after: float) -> None:
        site.wait(run, RunStatus.RUNNING)
        time.sleep(after)
        with suppress(ConflictError):
            (by_service, in_prefect)[number % 2](site, run)

    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(cancel, run, n, moments.uniform(0, 0.8)) for n, run in enumerate(runs)]
        for one in told:
            one.result()
    ends = [site.wait(run) for run in runs]
    settle(site, runs)
    for run, ended in zip(runs, ends, strict=True):
        assert ended.status in {RunStatus.SUCCEEDED, RunStatus.CANCELLED}
        moves = [e.to_status for e in site.rows(run)[3] if e.kind == "run"]
        assert moves.count(ended.status) == 1
        shown = {RunStatus.SUCCEEDED: "Completed", RunStatus.CANCELLED: "Cancelled"}[ended.status]
        site.until_shown(run, shown.upper(), shown)


# Retrying


def failed(site: Site, name: str) -> Run:
    """A run of a template and project of this name, as are the files that its jobs write."""
    once = "type: flaky, retry: {max_attempts: 1}, with: {times: 1, file: FILES"
    site.work(
        name,
        f"name: fine, type: touch, with: {{file: FILES/{name}-fine}}",
        f"name: one, {once}/{name}-one}}",
        f"name: other, {once}/{name}-other}}",
        f"name: behind, type: touch, needs: [one], with: {{file: FILES/{name}-behind}}",
    )
    run = site.complete(name, name)
    assert run.status is RunStatus.FAILED
    assert site.jobs(run)["behind"].status is JobStatus.SKIPPED
    site.until_shown(run, "FAILED", "Failed")
    return run


@pytest.mark.parametrize("each_site", POSTGRES_IN_SOAK, indirect=True)
def test_a_retried_run_does_again_what_failed_and_what_that_kept_from_running(each_site: Site):
    site = each_site
    site.execute()
    run = failed(site, "retried")
    retried = steer(site, retry_run, run)
    assert (retried.status, retried.cycle) == (RunStatus.QUEUED, 1)
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.flow_run_id == run.flow_run_id
    assert lines_of(site.file("retried-fine")) == [f"{run.id}:fine"], "what succeeded stays"
    assert lines_of(site.file("retried-behind")) == [f"{run.id}:behind"]
    assert [site.jobs(run)[step].attempt for step in ("fine", "one", "other", "behind")] == [
        1, 2, 2, 1,
    ]  # fmt: skip
    site.until_shown(run, "COMPLETED", "Completed")


def test_a_retried_job_takes_those_behind_it_along_and_no_other(site: Site):
    run = failed(site, "one-job")
    store, clock = site.runtime.store, site.runtime.clock
    retry_job(store, clock, run.tenant_id, run.id, "one", "tester")
    ended = site.wait(run)
    assert (ended.status, ended.cycle, ended.error) == (RunStatus.FAILED, 1, "failed: other")
    jobs = site.jobs(run)
    assert jobs["one"].status is jobs["behind"].status is JobStatus.SUCCEEDED
    assert jobs["other"].attempt == 1
    site.settle(run)
    site.until_shown(run, "FAILED", "Failed")
    steer(site, retry_run, run)
    assert site.wait(run).status is RunStatus.SUCCEEDED
    site.until_shown(run, "COMPLETED", "Completed")


def test_of_retries_at_once_one_is_made(site: Site):
    run = failed(site, "races")
    start = threading.Barrier(4)

    def retry() -> str:
        start.wait()
        try:
            return steer(site, retry_run, run).status
        except IllegalTransitionError as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        told = [task.result() for task in [pool.submit(retry) for _ in range(4)]]
    assert told.count(RunStatus.QUEUED) == 1
    ended = site.wait(run)
    assert (ended.status, ended.cycle) == (RunStatus.SUCCEEDED, 1)
    assert len(lines_of(site.file("races-one"))) == 2


def test_a_run_whose_flow_run_was_deleted_gets_a_new_one(site: Site):
    run = failed(site, "deleted")
    site.settle(run)
    site.server.delete(str(run.flow_run_id))
    steer(site, retry_run, run)
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.flow_run_id != run.flow_run_id
    site.until_shown(run, "COMPLETED", "Completed")
