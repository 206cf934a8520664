"""Runs that wait for people, in processes that come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.domain.approval import Approval, ApprovalStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.approvals import Decided, decide
from tests.executors import Site
from tests.recovery.conftest import POSTGRES_IN_SOAK, SQLITE_IN_SOAK
from tests.recovery.test_prove import Prover, failures, places
from tests.work_types import a_work_template, lines_of

pytestmark = pytest.mark.slow

GATE = "name: gate, type: approval, with: {message: May it?, by: [grace, linus]}"
BEHIND = "name: behind, type: touch, needs: [gate], with: {file: FILES/behind}"


def approval_of(site: Site, run: Run) -> Approval:
    with site.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        (approval,) = tx.list_approvals(run_id=run.id)
    return approval


def vote(site: Site, run: Run, granted: bool = True, comment: str = "") -> Decided:
    runtime, approval = site.runtime, approval_of(site, run)
    return decide(
        runtime.store, runtime.clock, run.tenant_id, approval.id, "grace", (), granted, comment
    )


@pytest.mark.parametrize("each_site", POSTGRES_IN_SOAK, indirect=True)
def test_no_process_is_held_by_a_run_that_waits_for_people(each_site: Site):
    site = each_site
    site.work("gated", GATE, BEHIND)
    first = site.execute()
    run = site.request("gated", "gated")
    site.until_status(run, RunStatus.WAITING)
    site.until(lambda: site.walker(run) is None, "nobody holds it")
    first.kill()
    assert vote(site, run, comment="fine").approval.status is ApprovalStatus.GRANTED
    assert site.run(run).status is RunStatus.WAITING, "there is nobody to go on with it"
    site.execute()
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert lines_of(site.file("behind")) == [f"{run.id}:behind"]
    assert site.outcomes(run, "gate") == ["waiting", "succeeded"]


@pytest.mark.parametrize("each_site", SQLITE_IN_SOAK, indirect=True)
def test_a_decision_is_seen_by_a_living_walk_that_has_other_work(each_site: Site):
    site = each_site
    site.work(
        "busy",
        GATE,
        BEHIND,
        "name: long, type: touch, with: {file: FILES/long, begun: FILES/begun, gate_before: FILES/go}",
    )
    site.execute()
    run = site.request("busy", "busy")
    site.until(lambda: site.jobs(run)["gate"].status == "Waiting", "it waits for people")
    site.until(lambda: lines_of(site.file("begun")), "the other job is under way")
    walker = site.walker(run)
    vote(site, run)
    site.until(lambda: site.jobs(run)["behind"].status == "Succeeded", "it went on at once", 20)
    assert (site.run(run).status, site.walker(run)) == (RunStatus.RUNNING, walker)
    assert site.outcomes(run, "long") == ["None"], "the other job was not disturbed"
    site.file("go").touch()
    ended = site.wait(run)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert site.outcomes(run, "long") == ["succeeded"]


def test_what_is_denied_while_the_walk_has_other_work_stops_what_is_behind_it(site: Site):
    site.work(
        "busy",
        GATE,
        BEHIND,
        "name: long, type: touch, with: {file: FILES/long, begun: FILES/begun, gate_before: FILES/go}",
    )
    site.execute()
    run = site.request("busy", "busy")
    site.until(lambda: site.jobs(run)["gate"].status == "Waiting", "it waits for people")
    vote(site, run, granted=False, comment="not today")
    site.until(lambda: site.jobs(run)["behind"].status == "Skipped", "nothing behind it runs")
    site.file("go").touch()
    ended = site.wait(run)
    assert (ended.status, ended.error) == (RunStatus.FAILED, "failed: gate")
    assert "denied by grace: not today" in str(site.jobs(run)["gate"].error)
    assert lines_of(site.file("long")) == [f"{run.id}:long"]
    assert not site.file("behind").exists()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_job_that_asks_people_can_be_killed_at_every_point(tmp_path: Path):
    prover = Prover(tmp_path, "tests.work_types")
    file = tmp_path / "lines"
    prover.factory.template(
        "gated",
        a_work_template(
            "gated",
            "name: gate, type: approval, with: {message: May it?, by: [grace, 'group:ops'], count: 2}",
            f"name: line, type: touch, needs: [gate], with: {{file: {file}}}",
        ),
    )
    proved = prover.prove("gated", {})
    assert failures(proved) == {}
    assert proved.code == 0, proved.document
    assert {place for place in proved.rows if place[0] == "gate"} == places("gate")
    runs = 2 + len(proved.rows)
    lines = lines_of(file)
    assert len(lines) == len(set(lines)) == runs
    assert proved.litter == []
