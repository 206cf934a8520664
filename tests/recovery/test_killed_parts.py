"""Parts that are killed in the middle of a run: it goes on where it was, and nothing is left."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.take_back import LOSSES
from tests.executors import Executor, Site
from tests.factory import git
from tests.recipes import a_layer, a_source, a_template
from tests.recovery import dispatcher_faults
from tests.recovery.conftest import POSTGRES_IN_SOAK, SQLITE_IN_SOAK
from tests.work_types import lines_of

pytestmark = pytest.mark.slow


def counted_to(place: Path, number: int) -> bool:
    return len(lines_of(place)) >= number


def is_whole(lines: list[str], to: int, kills: int) -> bool:
    """Each number is there; with each kill, the one that was not noted yet may come again."""
    times = Counter(int(line) for line in lines)
    return sorted(times) == list(range(1, to + 1)) and len(lines) <= to + kills


@pytest.mark.parametrize("each_site", SQLITE_IN_SOAK, indirect=True)
def test_a_killed_executor_leaves_no_program_and_its_finished_jobs_are_not_run_again(
    each_site: Site,
):
    site = each_site
    site.work(
        "programs",
        "name: done, type: touch, with: {file: FILES/done}",
        "name: counts, type: count, needs: [done], with: {file: FILES/counted, to: 20}",
        "name: program, type: sleep, needs: [done],"
        " with: {child: true, seconds: 600, file: FILES/pids}, on_failure: continue",
    )
    first = site.execute()
    run = site.request("programs", "killed")
    site.until(lambda: lines_of(site.file("pids")), "the program runs")
    site.until(lambda: counted_to(site.file("counted"), 3), "it counts")
    flow_run_id = site.run(run).flow_run_id
    program = psutil.Process(int(lines_of(site.file("pids"))[0]))
    below = first.kill()
    assert program in below
    _, left = psutil.wait_procs(below, timeout=5)
    assert not left, "a program outlives its executor"

    site.execute()
    site.until(lambda: len(lines_of(site.file("pids"))) == 2, "the program is started again")
    psutil.Process(int(lines_of(site.file("pids"))[1])).kill()
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert is_whole(lines_of(site.file("counted")), 20, 1)
    assert lines_of(site.file("done")) == [f"{run.id}:done"]
    assert site.outcomes(run, "done") == ["succeeded"]
    assert site.outcomes(run, "counts") == ["lost", "succeeded"]
    assert ended.flow_run_id == flow_run_id
    site.until_shown(run, "COMPLETED", "Completed")


@pytest.mark.parametrize("each_site", SQLITE_IN_SOAK, indirect=True)
def test_of_two_executors_given_one_flow_run_one_walks_and_the_other_leaves_it(each_site: Site):
    site = each_site
    site.work(
        "shared",
        "name: a, type: touch, with: {file: FILES/lines, gate_after: FILES/go, done: FILES/done}",
        "name: b, type: count, needs: [a], with: {file: FILES/counted, to: 10}",
    )
    site.execute()
    run = site.request("shared", "shared")
    site.until(lambda: lines_of(site.file("done")), "it is under way")
    walker = site.walker(run)
    second = site.execute(run)
    second.may_end = True
    second.wait()
    assert site.walker(run) == walker
    site.file("go").touch()
    assert site.wait(run).status is RunStatus.SUCCEEDED
    assert lines_of(site.file("lines")) == [f"{run.id}:a"]
    assert lines_of(site.file("counted")) == [str(n) for n in range(1, 11)]
    assert site.outcomes(run, "a") == site.outcomes(run, "b") == ["succeeded"]
    site.until_shown(run, "COMPLETED", "Completed")


@pytest.mark.parametrize("each_site", POSTGRES_IN_SOAK, indirect=True)
@pytest.mark.parametrize("number", [2, pytest.param(4, marks=pytest.mark.soak)])
def test_of_executors_that_take_up_a_lost_flow_run_at_once_one_walks(each_site: Site, number: int):
    site = each_site
    site.work("lost", "name: a, type: count, with: {file: FILES/counted, to: 20}")
    first = site.execute()
    run = site.request("lost", "lost")
    site.until(lambda: counted_to(site.file("counted"), 3), "it counts")
    first.kill()
    others = [site.execute(run) for _ in range(number)]
    for other in others:
        other.may_end = True
    site.until(lambda: site.run(run).ended, "it has ended")
    for other in others:
        other.wait()
    assert site.run(run).status is RunStatus.SUCCEEDED
    assert is_whole(lines_of(site.file("counted")), 20, 1)
    assert site.outcomes(run, "a") == ["lost", "succeeded"]
    site.execute()  # the outbox's last word
    site.until_shown(run, "COMPLETED", "Completed")


@pytest.mark.parametrize(
    "losses", [dispatcher_faults.FEW_LOSSES, pytest.param(LOSSES, marks=pytest.mark.soak)]
)
def test_a_job_that_kills_its_worker_again_and_again_fails_and_fails_no_other_run(
    site: Site, losses: int
):
    site.work("fatal", "name: a, type: fatal, with: {file: FILES/fatal, times: 99}")
    site.work(
        "innocent",
        *(
            f"name: t{n}, type: touch, {f'needs: [t{n - 1}], ' if n else ''}"
            f"with: {{file: FILES/lines}}"
            for n in range(4)
        ),
        "name: counts, type: count, with: {file: FILES/counted, to: 30}",
    )
    fatal, innocent = site.request("fatal", "fatal"), site.request("innocent", "fatal")
    executor = mortal(site, losses)

    def ended() -> bool:
        nonlocal executor
        if not executor.lives:
            executor = mortal(site, losses)
        return site.run(fatal).ended

    site.until(ended, "the fatal run has ended", 120)
    run = site.run(fatal)
    assert run.status is RunStatus.FAILED
    assert site.outcomes(fatal, "a") == ["lost"] * losses
    assert site.jobs(fatal)["a"].status is JobStatus.FAILED
    assert "its worker is gone" in str(site.jobs(fatal)["a"].error)
    assert site.wait(innocent).status is RunStatus.SUCCEEDED
    assert is_whole(lines_of(site.file("counted")), 30, losses)
    assert lines_of(site.file("lines")) == [f"{innocent.id}:t{n}" for n in range(4)]
    site.until_shown(fatal, "FAILED", "Failed")
    site.until_shown(innocent, "COMPLETED", "Completed")


def mortal(site: Site, losses: int) -> Executor:
    """An executor whose jobs may kill it; who takes them back does so until so many losses."""
    few = f"{dispatcher_faults.__name__}:take_back_after_few_losses"
    executor = site.execute(first=None if losses == LOSSES else few)
    executor.may_end = True
    return executor


@pytest.mark.parametrize("each_site", POSTGRES_IN_SOAK, indirect=True)
def test_sigterm_puts_the_run_down_where_it_is_and_costs_its_jobs_nothing(each_site: Site):
    site = each_site
    site.work(
        "told",
        "name: sleeps, type: sleep, with: {seconds: 1}",
        "name: counts, type: count, with: {file: FILES/counted, to: 30}",
        "name: after, type: touch, needs: [sleeps, counts], with: {file: FILES/lines}",
    )
    first = site.execute()
    run = site.request("told", "told")
    site.until(lambda: counted_to(site.file("counted"), 3), "it counts")
    first.end()
    left = site.run(run)
    assert left.status is RunStatus.RUNNING
    assert left.admitted_at is None
    assert site.walker(run) is None
    jobs = site.jobs(run)
    assert jobs["sleeps"].status is JobStatus.SUCCEEDED, "what cannot stop is waited for"
    assert jobs["counts"].status is JobStatus.PENDING
    assert site.shown(run) == ("PENDING", "Queued")

    site.execute()
    assert site.wait(run).status is RunStatus.SUCCEEDED
    assert lines_of(site.file("counted")) == [str(n) for n in range(1, 31)]
    assert lines_of(site.file("lines")) == [f"{run.id}:after"]
    assert site.outcomes(run, "counts") == ["suspended", "succeeded"]
    for job in site.jobs(run).values():
        assert (job.failures, job.losses) == (0, 0)
    site.until_shown(run, "COMPLETED", "Completed")


@pytest.mark.parametrize(("ends", "count"), [(2, 3), pytest.param(25, 6, marks=pytest.mark.soak)])
def test_sigterm_at_any_moment_of_commits_costs_no_attempt_and_doubles_nothing(
    site: Site, ends: int, count: int
):
    moments = random.Random(20260103)  # noqa: S311 - repeatable, not secret
    layers = [a_layer(f"l{n}", f"files/l{n}") for n in range(count)]
    files = a_source()
    for n in range(count):
        folder = f"files/l{n}"
        files |= a_source(folder=folder)
        files[f"{folder}/content/l{n}.txt.jinja"] = files.pop(f"{folder}/content/readme.txt.jinja")
    site.template("layers", a_template("layers", *(line for la in layers for line in la)), files)
    for number in range(ends):
        run = site.request("layers", f"sigterm-{number}", name="svc")
        end_after(site, run, events=moments.randrange(2, 6 * count + 4))
        last = site.execute()
        assert site.wait(run).status is RunStatus.SUCCEEDED
        last.end()
        assert commits_of(site, run) == sorted(site.jobs(run))
        for step, job in site.jobs(run).items():
            assert (job.failures, job.losses) == (0, 0), step
            assert set(site.outcomes(run, step)) <= {"suspended", "succeeded"}


def end_after(site: Site, run: Run, events: int) -> None:
    """SIGTERM for an executor once the run has come so far."""
    first = site.execute()
    site.until(lambda: len(site.rows(run)[3]) >= events or site.run(run).ended, "so far")
    first.end()


def commits_of(site: Site, run: Run) -> list[str]:
    place = site.settings.git_folder / run.tenant_id / run.project_id / "svc.git"
    steps = "--format=%(trailers:key=Factory-Step,valueonly,separator=)"
    return sorted(git("log", steps, "main", cwd=place).split())


@pytest.mark.soak
def test_what_a_late_job_leaves_behind_can_write_nothing(a_site: Callable[..., Site]):
    site = a_site()
    site.work(
        "late",
        "name: before, type: touch, with: {file: FILES/lines, gate_before: FILES/go,"
        " begun: FILES/begun, left: FILES/left}",
        "name: after, type: touch, with: {file: FILES/lines, gate_after: FILES/go,"
        " done: FILES/begun, left: FILES/left}",
        deadline="2s",
    )
    executor = site.execute(first=f"{dispatcher_faults.__name__}:expect_no_word_of_flows")
    run = site.request("late", "late")
    site.until(lambda: len(lines_of(site.file("begun"))) == 2, "both are deaf")
    ended = site.wait(run)
    assert ended.status is RunStatus.CANCELLED
    assert ended.error == "cancelled by its deadline"
    assert {job.status for job in site.jobs(run).values()} == {JobStatus.CANCELLED}
    site.settle(run)  # what was done is confirmed by looking at it
    before = site.rows(run)
    site.file("go").touch()
    site.until(lambda: len(lines_of(site.file("left"))) == 2, "the threads go on")
    site.work("another", "name: a, type: touch, with: {file: FILES/another}")
    assert site.complete("another", "late").status is RunStatus.SUCCEEDED
    assert site.rows(run) == before
    assert lines_of(site.file("lines")) == [f"{run.id}:after"]
    assert executor.lives
    site.until_shown(run, "CANCELLED", "Cancelled")
