"""The run store's approvals and votes, and jobs that are woken."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from factory_runtime.domain.approval import Approval, ApprovalStatus
from factory_runtime.domain.errors import ApprovalNotFoundError, StaleVersionError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.ports import RunStore
from factory_runtime.run_store import SqlRunStore
from tests.builders import NOON, TENANT, a_job, a_run, a_vote, after, an_approval


def a_waiting_job(store: RunStore, status: JobStatus = JobStatus.WAITING) -> Job:
    job = a_job(run := a_run(), status=status, not_before=after(60), attempt=1, version=3)
    with store.begin(TENANT) as tx:
        tx.add_run(run, [job])
    return job


def asked(store: RunStore, job: Job, **values: object) -> Approval:
    approval = an_approval(job, **values)
    with store.begin(TENANT) as tx:
        assert tx.add_approval(approval) == approval
    return approval


def test_a_job_that_is_woken_is_the_same_version_and_can_be_claimed(run_store: RunStore):
    job = a_waiting_job(run_store)
    with run_store.begin(TENANT) as tx:
        assert tx.wake_job(job.run_id, job.step, NOON)
        woken = tx.get_job(job.run_id, job.step)
        assert (woken.not_before, woken.version, woken.status) == (NOON, 3, JobStatus.WAITING)
    claimed = job.move_to(JobStatus.RUNNING, NOON, attempt=2, fencing_token=1, not_before=None)
    with run_store.begin(TENANT) as tx:
        tx.save_job(job, claimed)  # by whoever has not heard of it
        assert tx.get_job(job.run_id, job.step).not_before is None


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.WAITING}))
def test_a_job_that_does_not_wait_is_not_woken(run_store: RunStore, status: JobStatus):
    job = a_waiting_job(run_store, status)
    with run_store.begin(TENANT) as tx:
        assert not tx.wake_job(job.run_id, job.step, NOON)
        assert not tx.wake_job(job.run_id, "no-such-step", NOON)
        assert tx.get_job(job.run_id, job.step) == job


def test_what_was_asked_already_is_given_as_it_stands(run_store: RunStore):
    stands = asked(run_store, job := a_waiting_job(run_store))
    with run_store.begin(TENANT) as tx:
        again = tx.add_approval(an_approval(job, message="otherwise", by=()))
        assert again == stands == tx.get_approval(stands.id)
        assert tx.list_approvals(run_id=job.run_id) == (stands,)


def test_another_cycle_or_plan_is_asked_anew_and_the_newest_is_found(run_store: RunStore):
    job = a_waiting_job(run_store)
    later = asked(run_store, job, cycle=2, requested_at=NOON)
    first = asked(run_store, job, cycle=0, requested_at=after(1))
    other = asked(run_store, job, plan_digest="e" * 64, requested_at=after(2))
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.find_approval(job.run_id, job.step, later.plan_digest) == later
        assert tx.find_approval(job.run_id, job.step, other.plan_digest) == other
        assert tx.find_approval(job.run_id, job.step, "f" * 64) is None
        assert tx.list_approvals(run_id=job.run_id) == (later, first, other), "oldest first"


def test_an_approval_is_saved_by_who_has_read_it_last(run_store: RunStore):
    approval = asked(run_store, a_waiting_job(run_store), escalate_at=after(5), escalate_to=("x",))
    granted = approval.changed(status=ApprovalStatus.GRANTED, decided_at=after(9))
    with run_store.begin(TENANT) as tx:
        tx.save_approval(approval, granted)
        assert tx.get_approval(approval.id) == granted
        assert tx.list_approvals(status=ApprovalStatus.OPEN, run_id=approval.run_id) == ()
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.save_approval(approval, approval.changed(status=ApprovalStatus.DENIED))
    with pytest.raises(ApprovalNotFoundError), run_store.begin(TENANT) as tx:
        tx.get_approval("appr-none")


def test_a_person_has_one_vote_and_votes_come_in_their_order(run_store: RunStore):
    approval = asked(run_store, a_waiting_job(run_store))
    second = a_vote(approval, person="ann", at=after(2), granted=False, comment="a\nb")
    with run_store.begin(TENANT) as tx:
        assert tx.add_vote(second)
        assert tx.add_vote(first := a_vote(approval, at=after(1)))
        assert not tx.add_vote(a_vote(approval, granted=False, comment="otherwise"))
        assert tx.list_votes(approval.id) == (first, second)
        assert tx.list_votes("appr-none") == ()


def test_of_many_who_ask_the_same_at_once_one_is_written(database_store: SqlRunStore):
    job, together = a_waiting_job(database_store), Barrier(4)

    def ask(_: int) -> str:
        together.wait(10)
        with database_store.begin(TENANT) as tx:
            return tx.add_approval(an_approval(job, id=new_id("appr"))).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
