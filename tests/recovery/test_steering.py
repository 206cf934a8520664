"""Runs that wait, are paused, cancelled and retried, in processes that come and go."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from factory_runtime.domain.errors import ConflictError, IllegalTransitionError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.retry_run import retry_job, retry_run
from tests.executors import Site
from tests.recovery import dispatcher_faults
from tests.work_types import lines_of

pytestmark = pytest.mark.slow

CHILDREN_GONE = 5.0
"""Seconds that what a run has started may live on after somebody cancelled it."""


@pytest.fixture
def narrow_site(a_site: Callable[..., Site]) -> Site:
    """One slot."""
    return a_site(max_running_runs=1)


def steer(site: Site, act: Callable[..., Run], run: Run) -> Run:
    return act(site.runtime.store, site.runtime.clock, run.tenant_id, run.id, "tester")


# Waiting


def test_a_waiting_run_holds_no_slot_and_no_process_and_wakes_up_when_it_is_due(
    narrow_site: Site,
):
    site = narrow_site
    site.work("waits", "name: a, type: await, with: {file: FILES/there, every: 60}")
    site.work("other", "name: a, type: touch, with: {file: FILES/lines}")
    first = site.execute()
    run = site.request("waits", "waits")
    site.until_status(run, RunStatus.WAITING)
    site.until(lambda: site.walker(run) is None, "nobody holds it")
    assert site.run(run).admitted_at is None
    assert site.jobs(run)["a"].lease_owner is None
    site.until_shown(run, "PAUSED", "Waiting")
    assert site.complete("other", "waits").status is RunStatus.SUCCEEDED, "the slot is free"

    waiting = site.rows(run)
    first.end()
    site.execute()
    assert site.complete("other", "waits-2").status is RunStatus.SUCCEEDED
    time.sleep(1)  # a few sweeps
    assert site.rows(run) == waiting

    site.file("there").touch()
    site.make_due(run)
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert site.outcomes(run, "a") == ["waiting", "succeeded"]
    assert ended.flow_run_id == waiting[0].flow_run_id
    site.until_shown(run, "COMPLETED", "Completed")
    shown = site.server.history(str(ended.flow_run_id))
    assert "Waiting" in shown
    assert shown[-1] == "Completed"


def test_a_long_retry_after_is_waited_for_without_a_process(site: Site):
    site.work("away", "name: a, type: flaky, with: {file: FILES/asked, times: 1, retry_after: 30}")
    site.execute()
    run = site.request("away", "away")
    waiting = site.until_status(run, RunStatus.WAITING)
    job = site.jobs(run)["a"]
    assert job.not_before is not None
    assert waiting.wake_at == job.not_before
    assert (job.not_before - job.updated_at).total_seconds() >= 30
    site.until(lambda: site.walker(run) is None, "nobody holds it")
    site.make_due(run)
    assert site.wait(run).status is RunStatus.SUCCEEDED
    assert lines_of(site.file("asked")) == ["1", "2"]
    assert site.outcomes(run, "a") == ["transient-error", "succeeded"]
    site.until_shown(run, "COMPLETED", "Completed")


def test_short_delays_are_prefects_own_retries(site: Site):
    site.work("flaky", "name: a, type: flaky, with: {file: FILES/asked, times: 2}")
    site.execute()
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

    site.until(lambda: told()[-1:] == ["Completed"], "Prefect has heard of the task's end")
    assert told().count("AwaitingRetry") == 2, told()
    assert told().count("Retrying") == 2, told()


# Pausing


def test_a_paused_run_lets_its_jobs_finish_and_goes_on_from_its_checkpoint(each_site: Site):
    site = each_site
    site.work(
        "pauses",
        "name: sleeps, type: sleep, with: {seconds: 1}",
        "name: counts, type: count, with: {file: FILES/counted, to: 50}",
        "name: after, type: touch, needs: [sleeps, counts], with: {file: FILES/lines}",
    )
    first = site.execute()
    run = site.request("pauses", "pauses")
    site.until(lambda: len(lines_of(site.file("counted"))) > 3, "it counts")
    asked = steer(site, pause_run, run)
    assert steer(site, pause_run, run) == asked, "asking twice is asking once"
    paused = site.until_status(run, RunStatus.PAUSED)
    assert steer(site, pause_run, run) == paused
    assert paused.admitted_at is None
    assert site.walker(run) is None
    jobs = site.jobs(run)
    assert jobs["sleeps"].status is JobStatus.SUCCEEDED, "what was in flight has finished"
    assert jobs["counts"].status is JobStatus.PENDING
    assert (jobs["counts"].failures, jobs["counts"].losses) == (0, 0)
    counted = len(lines_of(site.file("counted")))
    assert counted < 50
    site.until_shown(run, "PAUSED", "Paused")

    first.end()
    site.execute()
    site.work("other", "name: a, type: touch, with: {file: FILES/other}")
    assert site.complete("other", "pauses-2").status is RunStatus.SUCCEEDED
    assert site.run(run) == paused, "it survives a restart, and its sweeps"
    assert len(lines_of(site.file("counted"))) == counted

    queued = steer(site, resume_run, run)
    assert queued.status is RunStatus.QUEUED
    with suppress(IllegalTransitionError):  # where it is Running by now
        assert steer(site, resume_run, run).status is RunStatus.QUEUED
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert lines_of(site.file("counted")) == [str(n) for n in range(1, 51)]
    assert ended.flow_run_id == paused.flow_run_id
    site.until_shown(run, "COMPLETED", "Completed")


def test_a_run_that_is_paused_as_it_ends_has_ended_or_is_paused_and_goes_on(site: Site):
    moments = random.Random(20260104)  # noqa: S311 - repeatable, not secret
    site.work("short", "name: a, type: sleep, with: {seconds: 0.2}")
    site.execute()
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


# Cancelling


def by_service(site: Site, run: Run) -> None:
    steer(site, cancel_run, run)


def in_prefect(site: Site, run: Run) -> None:
    """As Prefect's UI does: its server refuses it for a flow run that has ended."""
    body = {"state": {"type": "CANCELLING"}}
    site.server.ask("POST", f"/flow_runs/{site.run(run).flow_run_id}/set_state", body)


def by_force_in_prefect(site: Site, run: Run) -> None:
    site.server.force(str(site.run(run).flow_run_id), "CANCELLED")


NO_WORD = f"{dispatcher_faults.__name__}:expect_no_word_of_flows"
WAYS = [by_service, in_prefect, by_force_in_prefect]


def one_of_each(site: Site) -> dict[str, Run]:
    """On a site with one slot: a run that waits, one that is paused, one at work, one queued."""
    site.work("waits", "name: a, type: await, with: {file: FILES/never, every: 600}")
    site.work("works", "name: a, type: sleep, with: {child: true, seconds: 600, file: FILES/pids}")
    site.work("pausable", "name: a, type: count, with: {file: FILES/counted, to: 9999}")
    waiting = site.until_status(site.request("waits", "c1"), RunStatus.WAITING)
    halted: list[Run] = []
    for project in ("c2", "c3"):
        run = site.request("pausable", project)
        site.until(lambda run=run: site.jobs(run)["a"].attempt == 1, "it has begun")
        steer(site, pause_run, run)
        halted.append(site.until_status(run, RunStatus.PAUSED))
        site.until_shown(run, "PAUSED", "Paused")
    at_work = site.request("works", "c4")
    site.until(lambda: lines_of(site.file("pids")), "its program runs")
    paused, queued = halted
    steer(site, resume_run, queued)
    site.until_shown(queued, "PENDING", "Queued")
    return {"waiting": waiting, "paused": paused, "at work": at_work, "queued": queued}


@pytest.mark.parametrize("way", WAYS)
def test_a_cancelled_run_is_cancelled_in_both_whoever_asked_and_whatever_it_did(
    narrow_site: Site, way: Callable[[Site, Run], None]
):
    site = narrow_site
    site.execute(tidy=None, first=NO_WORD)
    runs = one_of_each(site)
    program = psutil.Process(int(lines_of(site.file("pids"))[0]))
    # The one that is at work last, or its slot would go to the queued one.
    for kind in ("queued", "waiting", "paused"):
        way(site, runs[kind])
    for kind in ("queued", "waiting", "paused"):
        assert site.wait(runs[kind]).status is RunStatus.CANCELLED, kind
    way(site, runs["at work"])
    _, left = psutil.wait_procs([program], timeout=CHILDREN_GONE)
    assert not left, "its program lives on"
    for kind, run in runs.items():
        ended = site.wait(run)
        assert ended.status is RunStatus.CANCELLED, kind
        assert {job.status for job in site.jobs(run).values()} == {JobStatus.CANCELLED}
        site.until_shown(run, "CANCELLED", "Cancelled")
        site.until(lambda run=run: site.walker(run) is None, "nobody holds it")
    for run in runs.values():
        site.settle(run)
        assert site.shown(run) == ("CANCELLED", "Cancelled")


@pytest.mark.parametrize("way", [by_service, by_force_in_prefect])
def test_a_run_cancelled_while_no_executor_lives_is_cancelled_by_the_next(
    narrow_site: Site, way: Callable[[Site, Run], None]
):
    site = narrow_site
    first = site.execute()
    runs = one_of_each(site)
    first.kill()
    counted = len(lines_of(site.file("counted")))
    for run in runs.values():
        way(site, run)
    site.execute(first=NO_WORD)
    for kind, run in runs.items():
        ended = site.wait(run)
        assert ended.status is RunStatus.CANCELLED, kind
        site.settle(run)
        site.until_shown(run, "CANCELLED", "Cancelled")
    assert len(lines_of(site.file("pids"))) == 1, "none of it was begun again"
    assert len(lines_of(site.file("counted"))) == counted


@pytest.mark.parametrize("times", [8, pytest.param(80, marks=pytest.mark.soak)])
def test_a_run_cancelled_as_it_ends_ends_once_and_alike_in_both(site: Site, times: int):
    moments = random.Random(20260105)  # noqa: S311 - repeatable, not secret
    site.work("brief", "name: a, type: sleep, with: {seconds: 0.4}",
              "name: b, type: touch, needs: [a], with: {file: FILES/lines}")  # fmt: skip
    site.execute()
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
    for run in runs:
        ended = site.wait(run)
        assert ended.status in {RunStatus.SUCCEEDED, RunStatus.CANCELLED}
        site.settle(run)
        moves = [e.to_status for e in site.rows(run)[3] if e.kind == "run"]
        assert moves.count(ended.status) == 1
        shown = {RunStatus.SUCCEEDED: "Completed", RunStatus.CANCELLED: "Cancelled"}[ended.status]
        site.until_shown(run, shown.upper(), shown)


# Retrying


def failed(site: Site, project: str) -> Run:
    site.work(
        "fails",
        "name: fine, type: touch, with: {file: FILES/fine}",
        "name: one, type: flaky, retry: {max_attempts: 1}, with: {file: FILES/one, times: 1}",
        "name: other, type: flaky, retry: {max_attempts: 1}, with: {file: FILES/other, times: 1}",
        "name: behind, type: touch, needs: [one], with: {file: FILES/behind}",
    )
    run = site.complete("fails", project)
    assert run.status is RunStatus.FAILED
    assert site.jobs(run)["behind"].status is JobStatus.SKIPPED
    site.until_shown(run, "FAILED", "Failed")
    return run


def test_a_retried_run_does_again_what_failed_and_what_that_kept_from_running(each_site: Site):
    site = each_site
    site.execute()
    run = failed(site, "retried")
    retried = steer(site, retry_run, run)
    assert (retried.status, retried.cycle) == (RunStatus.QUEUED, 1)
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.flow_run_id == run.flow_run_id
    assert lines_of(site.file("fine")) == [f"{run.id}:fine"], "what succeeded stays"
    assert lines_of(site.file("behind")) == [f"{run.id}:behind"]
    assert [site.jobs(run)[step].attempt for step in ("fine", "one", "other", "behind")] == [
        1, 2, 2, 1,
    ]  # fmt: skip
    site.until_shown(run, "COMPLETED", "Completed")


def test_a_retried_job_takes_those_behind_it_along_and_no_other(site: Site):
    site.execute()
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
    site.execute()
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
    assert len(lines_of(site.file("one"))) == 2


def test_a_run_whose_flow_run_was_deleted_gets_a_new_one(site: Site):
    site.execute()
    run = failed(site, "deleted")
    site.settle(run)
    site.server.delete(str(run.flow_run_id))
    steer(site, retry_run, run)
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.flow_run_id != run.flow_run_id
    site.until_shown(run, "COMPLETED", "Completed")
