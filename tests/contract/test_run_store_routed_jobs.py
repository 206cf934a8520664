"""Jobs that are done elsewhere: found by their flow run over all tenants, noted without a version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run
from factory_runtime.ports import JobKey, RoutedJob, RunStore
from tests.builders import NOON, TENANT, a_job, a_run, after


def sent(store: RunStore, tenant_id: str = TENANT, step: str = "ship") -> tuple[Run, Job]:
    """A job that was sent; no flow run was made for it yet."""
    run = a_run(tenant_id=tenant_id)
    job = a_job(run, step=step)
    waiting = job.move_to(
        JobStatus.WAITING, NOON, routed_to="docs-pool/docs", not_before=after(600)
    )
    with store.begin(tenant_id) as tx:
        tx.add_run(run, [job])
        tx.save_job(job, waiting)
    return run, waiting


def note(store: RunStore, job: Job, flow_run_id: str | None) -> bool:
    with store.begin(job.tenant_id) as tx:
        tx.lock_run(job.run_id)
        return tx.note_route(job, flow_run_id, "waits for a worker")


def test_a_sent_job_is_found_by_its_flow_run_alone(run_store: RunStore) -> None:
    _, mine = sent(run_store)
    _, other = sent(run_store, "umbrella")
    assert note(run_store, mine, "flow-1")
    assert note(run_store, other, "flow-2")
    assert run_store.find_routed_job("flow-1") == JobKey(TENANT, mine.run_id, "ship")
    assert run_store.find_routed_job("flow-2") == JobKey("umbrella", other.run_id, "ship")
    assert run_store.find_routed_job("flow-3") is None


def test_what_is_noted_changes_no_version_and_is_lost_on_another_version(
    run_store: RunStore,
) -> None:
    run, job = sent(run_store)
    assert note(run_store, job, "flow-1")
    with run_store.begin(TENANT, read_only=True) as tx:
        noted = tx.get_job(run.id, "ship")
    assert noted == replace(job, routed_flow_run_id="flow-1", phrase="waits for a worker")
    assert not note(run_store, replace(job, version=job.version + 1), "flow-2")
    running = noted.move_to(JobStatus.RUNNING, after(1), fencing_token=1)
    with run_store.begin(TENANT) as tx:
        tx.save_job(noted, running)
        tx.save_job(noted, running)  # whose answer was lost
    assert not note(run_store, noted, "flow-2")
    assert not note(run_store, running, "flow-2")


def test_open_jobs_with_a_flow_run_are_listed_page_by_page(run_store: RunStore) -> None:
    jobs = [sent(run_store, tenant_id)[1] for tenant_id in ("b", "a", "c")]
    for number, job in enumerate(jobs):
        note(run_store, job, f"flow-{number}")
    sent(run_store, "d")
    first = run_store.routed_jobs(limit=2)
    assert [job.key.tenant_id for job in first] == ["a", "b"]
    (last,) = run_store.routed_jobs(after=first[-1].key)
    assert last == RoutedJob(JobKey("c", jobs[2].run_id, "ship"), "flow-2", claimed=False)
    with run_store.begin("c") as tx:
        waits = tx.get_job(jobs[2].run_id, "ship")
        tx.save_job(waits, waits.move_to(JobStatus.RUNNING, after(1), fencing_token=1))
    assert run_store.routed_jobs(after=first[-1].key) == (replace(last, claimed=True),)


@pytest.mark.parametrize("status", [JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.SUCCEEDED])
def test_one_that_has_ended_is_nobody_s_any_more(run_store: RunStore, status: JobStatus) -> None:
    run, job = sent(run_store)
    note(run_store, job, "flow-1")
    with run_store.begin(TENANT) as tx:
        noted = tx.get_job(run.id, "ship")
        tx.save_job(noted, noted.move_to(status, after(1)))
    assert run_store.find_routed_job("flow-1") is None
    assert run_store.routed_jobs() == ()
