"""Why runs stand where they do, and how many there are: told where that is asked for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.access import Role
from factory_runtime.domain.body import Body
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunStore
from tests.api.site import ApiSite, somebody
from tests.builders import a_checkpoint, an_attempt

RUNS = "/api/v1/runs"


@pytest.fixture
def narrow(tmp_path: Path, sqlite_url: str, sqlite_store: RunStore) -> ApiSite:
    """With one slot."""
    return ApiSite(tmp_path, sqlite_url, sqlite_store, max_running_runs=1)


def begin(site: ApiSite, run_id: str) -> None:
    now = site.runtime.clock.now()
    with site.store.begin("acme") as tx:
        run = tx.get_run(run_id)
        queued = run.move_to(RunStatus.QUEUED, now, admitted_at=now)
        tx.save_run(run, queued)
        tx.save_run(queued, queued.move_to(RunStatus.RUNNING, now))


def test_who_holds_a_slot_is_named_to_those_who_may_see_it(narrow: ApiSite):
    app = narrow.app()
    admin = narrow.client(somebody(), app)
    bob = narrow.client(somebody(role=Role.VIEWER, project_id="shop", name="bob"), app)
    holder, waits = narrow.run(admin, projectId="mill"), narrow.run(admin, projectId="shop")
    begin(narrow, holder)

    for client, holders, others in ((admin, [holder], 0), (bob, [], 1)):
        (reason,) = client.get(f"{RUNS}/{waits}?standing=true").json()["waits"]
        assert (reason["kind"], reason["holders"], reason["others"]) == ("slots", holders, others)
        listed = {
            one["runId"]: one["waits"]
            for one in client.get(f"{RUNS}?standing=true").json()["items"]
        }
        assert listed[waits] == [reason]
    assert admin.get(f"{RUNS}/{waits}").json()["waits"] is None
    assert {one["waits"] for one in admin.get(RUNS).json()["items"]} == {None}


def test_what_is_counted_is_what_they_may_see(narrow: ApiSite):
    app = narrow.app()
    admin = narrow.client(somebody(), app)
    bob = narrow.client(somebody(role=Role.VIEWER, project_id="shop", name="bob"), app)
    for project in ("mill", "shop", "shop"):
        narrow.run(admin, projectId=project)
    for path, seen in ((RUNS, (3, 2)), ("/api/v1/dead-letters", (0, 0))):
        asked = f"{path}?limit=1&withCount=true"
        assert tuple(one.get(asked).json()["count"] for one in (admin, bob)) == seen
        assert admin.get(path).json()["count"] is None


def test_one_job_is_told_of_from_near(narrow: ApiSite):
    admin = narrow.client(somebody())
    run_id, now = narrow.run(admin), narrow.runtime.clock.now()
    with narrow.store.begin("acme") as tx:
        job = tx.get_job(run_id, "make")
        lease = {"lease_owner": "here", "lease_expires_at": now + timedelta(hours=1)}
        claimed = job.move_to(JobStatus.RUNNING, now, attempt=1, fencing_token=1, **lease)
        tx.save_job(job, claimed)
        tx.add_attempt(an_attempt(claimed))
        tx.save_checkpoint(claimed, a_checkpoint(claimed, state=Body({"done": 3})))
    (told,) = admin.get(f"{RUNS}/{run_id}/jobs?step=make").json()["items"]
    assert told["more"]["checkpoint"]["state"] == {"done": 3}
    assert (told["leaseOwner"], len(told["attempts"])) == ("here", 1)
    assert admin.get(f"{RUNS}/{run_id}/jobs?step=none").json()["items"] == []
    assert [one["more"] for one in admin.get(f"{RUNS}/{run_id}/jobs").json()["items"]] == [None] * 2
