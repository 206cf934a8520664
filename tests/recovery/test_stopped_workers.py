"""A worker that was stopped past its lease, or killed before it could renew it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from tests.executors import Site
from tests.factory import git
from tests.recipes import a_source
from tests.recovery.conftest import POSTGRES_IN_SOAK, SQLITE_IN_SOAK
from tests.work_types import lines_of

pytestmark = pytest.mark.slow

HELD_UP = [
    "name: early, type: touch, with: {file: FILES/lines, gate_before: FILES/gate,"
    " begun: FILES/begun, left: FILES/left}",
    "name: late, type: touch, with: {file: FILES/lines, gate_after: FILES/gate,"
    " done: FILES/done, left: FILES/left}",
    "name: before-commit, type: gated-repo, with: {repository: one, source: files/base,"
    " gate_before: FILES/gate, begun: FILES/begun, left: FILES/left}",
    "name: after-commit, type: gated-repo, with: {repository: other, source: files/base,"
    " gate_after: FILES/gate, done: FILES/done, left: FILES/left}",
]
"""Jobs that a worker can be stopped in: each on one side of its effect."""

STEPS = ["after-commit", "before-commit", "early", "late"]


def commits(site: Site, run: Run) -> list[str]:
    place = site.settings.git_folder / run.tenant_id / run.project_id
    steps = "--format=%(trailers:key=Factory-Step,valueonly,separator=)"
    return [git("log", steps, "main", cwd=place / f"{name}.git") for name in ("one", "other")]


def held_up(site: Site) -> Run:
    """A run whose jobs are all held up, in an executor that is started with it."""
    site.work("held-up", *HELD_UP)
    for path, content in a_source().items():
        place = site.templates / "held-up" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(content))
    run = site.request("held-up", "stopped")
    site.until(
        lambda: len(lines_of(site.file("begun"))) == 2, "two are held up before their effect"
    )
    site.until(lambda: len(lines_of(site.file("done"))) == 2, "two are held up after their effect")
    return run


@pytest.mark.parametrize("each_site", SQLITE_IN_SOAK, indirect=True)
def test_a_worker_stopped_past_its_lease_changes_nothing_and_serves_on(each_site: Site):
    site = each_site
    stopped = site.execute()
    run = held_up(site)
    site.stop(stopped)

    other = site.execute()
    site.file("gate").touch()
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    site.settle(run)
    other.end()
    before, outside = site.rows(run), commits(site, run)

    stopped.process.resume()
    site.until(lambda: len(lines_of(site.file("left"))) == 8, "the stopped worker's jobs are over")
    site.work("another", "name: a, type: touch, with: {file: FILES/another}")
    assert site.complete("another", "stopped").status is RunStatus.SUCCEEDED
    site.settle(run)
    assert stopped.lives
    assert site.rows(run) == before
    assert commits(site, run) == outside == ["before-commit\n", "after-commit\n"]
    assert Counter(lines_of(site.file("lines"))) == {f"{run.id}:early": 1, f"{run.id}:late": 1}
    for step in STEPS:
        assert site.outcomes(run, step) == ["lost", "succeeded"]
    site.until_shown(run, "COMPLETED", "Completed")


@pytest.mark.soak
@pytest.mark.parametrize("each_site", POSTGRES_IN_SOAK, indirect=True)
def test_a_worker_stopped_past_its_lease_may_go_on_itself_where_nobody_else_did(each_site: Site):
    site = each_site
    stopped = site.execute()
    run = held_up(site)
    expires = site.jobs(run)["early"].lease_expires_at
    assert expires is not None
    site.stop(stopped)
    site.until(lambda: site.runtime.clock.now() > expires, "its lease has run out")
    site.until(lambda: site.walker(run) is None, "and so has its lock on the run")
    site.file("gate").touch()
    stopped.process.resume()
    assert site.wait(run).status is RunStatus.SUCCEEDED
    assert commits(site, run) == ["before-commit\n", "after-commit\n"]
    assert Counter(lines_of(site.file("lines"))) == {f"{run.id}:early": 1, f"{run.id}:late": 1}


def claimed(site: Site) -> Run:
    """A run with a job that has just been claimed, and does not end by itself."""
    site.work("just-claimed", "name: a, type: touch, with: {file: FILES/a, gate_before: FILES/go}")
    run = site.request("just-claimed", "claimed")
    site.until(lambda: site.jobs(run)["a"].status is JobStatus.RUNNING, "it is claimed")
    return run


def test_a_worker_killed_before_its_first_heartbeat_is_replaced_at_once_on_its_machine(
    a_site: Callable[..., Site],
):
    site = a_site(lease_seconds=60)
    first = site.execute()
    run = claimed(site)
    first.kill()
    lost = site.jobs(run)["a"]
    site.file("go").touch()
    site.execute()
    assert site.wait(run).status is RunStatus.SUCCEEDED
    assert site.outcomes(run, "a") == ["lost", "succeeded"]
    again = site.jobs(run)["a"]
    assert again.last_attempt_at is not None
    assert lost.lease_expires_at is not None
    assert again.last_attempt_at < lost.lease_expires_at, "nobody waited for the lease"
    assert lines_of(site.file("a")) == [f"{run.id}:a"]


@pytest.mark.parametrize("each_site", SQLITE_IN_SOAK, indirect=True)
def test_a_worker_killed_on_another_machine_is_replaced_when_its_lease_has_run_out(
    each_site: Site,
):
    site = each_site
    first = site.execute(host="elsewhere")
    run = claimed(site)
    first.kill()
    lost = site.jobs(run)["a"]
    assert str(lost.lease_owner).startswith("elsewhere:")
    assert lost.lease_expires_at is not None
    site.file("go").touch()
    site.execute()
    assert site.wait(run).status is RunStatus.SUCCEEDED
    assert site.outcomes(run, "a") == ["lost", "succeeded"]
    again = site.jobs(run)["a"]
    assert again.last_attempt_at is not None
    assert again.last_attempt_at >= lost.lease_expires_at, "it might have lived until then"
    assert lines_of(site.file("a")) == [f"{run.id}:a"]
