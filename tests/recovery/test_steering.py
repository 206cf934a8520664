"""Runs that wait, are paused and cancelled, in processes that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain

import psutil
import pytest

from factory_runtime.domain.errors import IllegalTransitionError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.pause_run import pause_run, resume_run
from tests.executors import Site
from tests.recovery import dispatcher_faults
from tests.recovery.conftest import POSTGRES_IN_SOAK
from tests.steering import by_force_in_prefect, by_service, in_prefect, settle, steer
from tests.work_types import lines_of

pytestmark = pytest.mark.slow

CHILDREN_GONE = 5.0
"""Seconds that what a run has started may live on after somebody cancelled it."""


@pytest.fixture
def narrow_site(a_site: Callable[..., Site]) -> Site:
    """One slot."""
    return a_site(max_running_runs=1)


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


# Pausing


@pytest.mark.parametrize("each_site", POSTGRES_IN_SOAK, indirect=True)
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


# Cancelling


NO_WORD = f"{dispatcher_faults.__name__}:expect_no_word_of_flows"


def some_of_each(site: Site, number: int) -> dict[str, list[Run]]:
    """On a site with so many slots: runs that wait, are paused, are at work, and are queued."""
    site.work("waits", "name: a, type: await, with: {file: FILES/never, every: 600}")
    site.work("works", "name: a, type: sleep, with: {child: true, seconds: 600, file: FILES/pids}")
    site.work("pausable", "name: a, type: count, with: {file: FILES/counted, to: 9999}")
    waiting = [site.request("waits", f"waits-{n}") for n in range(number)]
    for run in waiting:
        site.until_status(run, RunStatus.WAITING)
    paused, queued = (
        halted(site, [site.request("pausable", f"{kind}-{n}") for n in range(number)])
        for kind in ("paused", "queued")
    )
    at_work = [site.request("works", f"works-{n}") for n in range(number)]
    site.until(lambda: len(lines_of(site.file("pids"))) == number, "their programs run")
    for run in queued:
        steer(site, resume_run, run)
    for run in queued:
        site.until_shown(run, "PENDING", "Queued")
    return {"queued": queued, "waiting": waiting, "paused": paused, "at work": at_work}


def halted(site: Site, runs: list[Run]) -> list[Run]:
    for run in runs:
        site.until(lambda run=run: site.jobs(run)["a"].attempt == 1, "it has begun")
        steer(site, pause_run, run)
    for run in runs:
        site.until_status(run, RunStatus.PAUSED)
        site.until_shown(run, "PAUSED", "Paused")
    return runs


def test_cancelled_runs_are_cancelled_in_both_whoever_asked_and_whatever_they_did(
    a_site: Callable[..., Site],
):
    ways = (by_service, in_prefect, by_force_in_prefect)
    site = a_site(max_running_runs=len(ways))
    site.execute(tidy=None, first=NO_WORD)
    runs = some_of_each(site, len(ways))
    at_work = runs.pop("at work")
    programs = [psutil.Process(int(pid)) for pid in lines_of(site.file("pids"))]
    # Those that are at work last, or their slots would go to the queued ones.
    for kind in runs.values():
        for way, run in zip(ways, kind, strict=True):
            way(site, run)
    for kind, those in runs.items():
        for way, run in zip(ways, those, strict=True):
            assert site.wait(run).status is RunStatus.CANCELLED, (kind, way)
    for way, run in zip(ways, at_work, strict=True):
        way(site, run)
    _, left = psutil.wait_procs(programs, timeout=CHILDREN_GONE)
    assert not left, "a program lives on"
    everyone = [*chain(*runs.values()), *at_work]
    for run in everyone:
        assert site.wait(run).status is RunStatus.CANCELLED, run
        assert {job.status for job in site.jobs(run).values()} == {JobStatus.CANCELLED}
        site.until_shown(run, "CANCELLED", "Cancelled")
        site.until(lambda run=run: site.walker(run) is None, "nobody holds it")
    settle(site, everyone)
    assert {site.shown(run) for run in everyone} == {("CANCELLED", "Cancelled")}


@pytest.mark.soak
def test_runs_cancelled_while_no_executor_lives_are_cancelled_by_the_next(
    a_site: Callable[..., Site],
):
    ways = (by_service, by_force_in_prefect)
    site = a_site(max_running_runs=len(ways))
    first = site.execute()
    runs = some_of_each(site, len(ways))
    first.kill()
    counted = len(lines_of(site.file("counted")))
    for kind in runs.values():
        for way, run in zip(ways, kind, strict=True):
            way(site, run)
    site.execute(first=NO_WORD)
    for kind, those in runs.items():
        for way, run in zip(ways, those, strict=True):
            assert site.wait(run).status is RunStatus.CANCELLED, (kind, way)
    everyone = list(chain(*runs.values()))
    settle(site, everyone)
    for run in everyone:
        site.until_shown(run, "CANCELLED", "Cancelled")
    assert len(lines_of(site.file("pids"))) == len(ways), "none of it was begun again"
    assert len(lines_of(site.file("counted"))) == counted
