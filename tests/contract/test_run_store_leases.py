"""The run store's contract: claims, heartbeats, progress, checkpoints, breakers, renewed locks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.errors import LeaseLostError, PermanentError, StaleVersionError
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunStore, RunTransaction
from tests.builders import (
    TENANT,
    a_breaker,
    a_checkpoint,
    a_claimed_job,
    a_job,
    a_run,
    after,
    an_event,
)
from tests.stored import added

OWNER = str(a_claimed_job().lease_owner)


@pytest.fixture
def run(run_store: RunStore) -> Run:
    """A Running run without jobs."""
    return added(run_store, a_run(status=RunStatus.RUNNING))


def with_job(store: RunStore, job: Job) -> Job:
    """The job, with a run of its own around it."""
    added(store, a_run(id=job.run_id, tenant_id=job.tenant_id, status=RunStatus.RUNNING), job)
    return job


def stored(store: RunStore, job: Job) -> Job:
    with store.begin(job.tenant_id, read_only=True) as tx:
        return tx.get_job(job.run_id, job.step)


# --- what only the holder of a claim may write

FENCED: dict[str, Callable[[RunTransaction, Job], object]] = {
    "hold_job": lambda tx, job: tx.hold_job(job),
    "note_progress": lambda tx, job: tx.note_progress(job, 0.9, "forged"),
    "save_checkpoint": lambda tx, job: tx.save_checkpoint(job, a_checkpoint(job, number=9)),
}


@pytest.mark.parametrize("name", FENCED)
@pytest.mark.parametrize("token", [6, 8, 0, -1])
def test_who_has_another_fencing_token_has_lost_the_job(
    run_store: RunStore, name: str, token: int
) -> None:
    job = with_job(run_store, a_claimed_job(fencing_token=7))
    with run_store.begin(TENANT) as tx:
        tx.save_checkpoint(job, a_checkpoint(job))
    with pytest.raises(LeaseLostError), run_store.begin(TENANT) as tx:
        FENCED[name](tx, replace(job, fencing_token=token))
    assert stored(run_store, job) == job
    with run_store.begin(TENANT) as tx:
        assert tx.find_checkpoint(job.run_id, job.step) == a_checkpoint(job)


@pytest.mark.parametrize("name", FENCED)
@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.RUNNING}))
def test_a_job_that_does_not_run_is_nobodys(
    run_store: RunStore, name: str, status: JobStatus
) -> None:
    job = with_job(run_store, a_claimed_job(status=status))
    claimed = replace(job, status=JobStatus.RUNNING)  # as its worker remembers it
    with pytest.raises(LeaseLostError), run_store.begin(TENANT) as tx:
        FENCED[name](tx, claimed)
    assert stored(run_store, job) == job
    with run_store.begin(TENANT) as tx:
        assert tx.find_checkpoint(job.run_id, job.step) is None


@pytest.mark.parametrize("name", FENCED)
def test_an_unknown_job_is_lost_like_any_other(run_store: RunStore, run: Run, name: str) -> None:
    for job in (a_claimed_job(run), a_claimed_job(a_run()), a_claimed_job(run, step="\x00 %s '--")):
        with pytest.raises(LeaseLostError), run_store.begin(TENANT) as tx:
            FENCED[name](tx, job)


@pytest.mark.parametrize("name", FENCED)
def test_what_was_written_beside_a_lost_job_is_taken_back(run_store: RunStore, name: str) -> None:
    job = with_job(run_store, a_claimed_job())
    run = a_run(id=job.run_id)
    with pytest.raises(LeaseLostError), run_store.begin(TENANT) as tx:  # noqa: PT012
        tx.add_event(an_event(run, kind="forged"))
        FENCED[name](tx, replace(job, fencing_token=0))
    with run_store.begin(TENANT) as tx:
        assert "forged" not in {event.kind for event in tx.list_events(run.id)}


@pytest.mark.parametrize("name", FENCED)
def test_the_holder_of_a_claim_writes_without_a_new_version(run_store: RunStore, name: str) -> None:
    job = with_job(run_store, a_claimed_job())
    with run_store.begin(TENANT) as tx:
        FENCED[name](tx, job)
    assert stored(run_store, job).version == job.version
    with run_store.begin(TENANT) as tx:
        tx.save_job(job, job.move_to(JobStatus.SUCCEEDED, after(1)))
    assert stored(run_store, job).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("name", FENCED)
def test_a_lease_that_ran_out_but_was_not_taken_is_still_held(
    run_store: RunStore, name: str
) -> None:
    job = with_job(run_store, a_claimed_job(lease_expires_at=after(-999)))
    with run_store.begin(TENANT) as tx:
        FENCED[name](tx, job)


# --- heartbeats


def test_a_heartbeat_renews_what_its_owner_runs_and_nothing_else(
    run_store: RunStore, run: Run
) -> None:
    # Of the same owner, too: a run beside this one, and one of the same id of another tenant.
    beside, foreign = a_run(), replace(run, tenant_id="umbrella")
    whole = a_run(status=RunStatus.RUNNING)
    mine = [a_claimed_job(whole, step=f"mine-{n}", position=n) for n in range(3)]
    others = [
        a_claimed_job(whole, step="theirs", lease_owner=OWNER + "-2"),
        a_job(whole, step="open"),
        a_claimed_job(whole, step="waiting", status=JobStatus.WAITING),
        a_claimed_job(whole, step="done", status=JobStatus.SUCCEEDED),
    ]
    elsewhere = [a_claimed_job(beside), a_claimed_job(foreign)]
    added(run_store, whole, *mine, *others)
    added(run_store, beside, elsewhere[0])
    added(run_store, foreign, elsewhere[1])
    with run_store.begin(TENANT) as tx:
        assert tx.renew_leases(whole.id, OWNER, after(300)) == 3
        assert tx.renew_leases(run.id, OWNER, after(300)) == 0
    for job in mine:
        assert stored(run_store, job) == replace(job, lease_expires_at=after(300))
    for job in (*others, *elsewhere):
        assert stored(run_store, job) == job


@pytest.mark.parametrize("owner", ["", "%", "nobody", "' OR '1'='1", "\x00"])
def test_who_owns_nothing_renews_nothing(run_store: RunStore, owner: str) -> None:
    job = with_job(run_store, a_claimed_job())
    with run_store.begin(TENANT) as tx:
        assert tx.renew_leases(job.run_id, owner, after(300)) == 0
        assert tx.renew_leases("run-none", OWNER, after(300)) == 0
    assert stored(run_store, job) == job


def test_a_save_repeated_after_heartbeat_and_progress_is_made_once(run_store: RunStore) -> None:
    job = with_job(run_store, a_job(a_run()))
    claimed = job.move_to(
        JobStatus.RUNNING,
        after(1),
        attempt=1,
        fencing_token=1,
        lease_owner=OWNER,
        lease_expires_at=after(61),
    )
    with run_store.begin(TENANT) as tx:
        tx.save_job(job, claimed)
    with run_store.begin(TENANT) as tx:
        tx.renew_leases(job.run_id, OWNER, after(76))
        tx.note_progress(claimed, 0.5, "half way")
    with run_store.begin(TENANT) as tx:
        tx.save_job(job, claimed)
        assert len([e for e in tx.list_events(job.run_id) if e.step]) == 1
    renewed = replace(claimed, lease_expires_at=after(76), progress=0.5, phrase="half way")
    assert stored(run_store, job) == renewed


def test_another_claim_of_the_same_version_is_stale_for_all_that(run_store: RunStore) -> None:
    job = with_job(run_store, a_job(a_run()))
    claim = {"attempt": 1, "fencing_token": 1, "lease_expires_at": after(61)}
    mine = job.move_to(JobStatus.RUNNING, after(1), lease_owner="me", **claim)
    theirs = job.move_to(JobStatus.RUNNING, after(1), lease_owner="them", **claim)
    with run_store.begin(TENANT) as tx:
        tx.save_job(job, mine)
    with pytest.raises(StaleVersionError), run_store.begin(TENANT) as tx:
        tx.save_job(job, theirs)


def test_the_end_of_a_job_overwrites_a_renewed_lease(run_store: RunStore) -> None:
    job = with_job(run_store, a_claimed_job())
    with run_store.begin(TENANT) as tx:
        tx.renew_leases(job.run_id, OWNER, after(300))
        tx.note_progress(job, 0.5, "half way")
    done = job.move_to(JobStatus.SUCCEEDED, after(5), lease_owner=None, lease_expires_at=None)
    with run_store.begin(TENANT) as tx:
        tx.save_job(job, done)
    assert stored(run_store, job) == replace(done, progress=0.5, phrase="half way")
    assert run_store.expired_jobs(after(9999)) == ()


def test_progress_is_noted_and_taken_back_to_none(run_store: RunStore) -> None:
    job = with_job(run_store, a_claimed_job())
    for progress, phrase in ((0.0, "begun"), (1 / 3, "a third \x00"), (1.0, None), (None, None)):
        with run_store.begin(TENANT) as tx:
            tx.note_progress(job, progress, phrase)
        expected = None if phrase is None else phrase.replace("\x00", "\ufffd")
        assert stored(run_store, job) == replace(job, progress=progress, phrase=expected)


def test_the_next_attempt_begins_without_the_progress_of_the_last(run_store: RunStore) -> None:
    job = with_job(run_store, a_claimed_job())
    with run_store.begin(TENANT) as tx:
        tx.note_progress(job, 0.9, "nearly there")
    # The worker's own copies of the row never show what was noted.
    again = job.move_to(JobStatus.PENDING, after(2), lease_owner=None, lease_expires_at=None)
    claim = {"attempt": 2, "fencing_token": 2, "lease_owner": OWNER, "lease_expires_at": after(63)}
    second = again.move_to(JobStatus.RUNNING, after(3), **claim)
    with run_store.begin(TENANT) as tx:
        tx.save_job(job, again)
        tx.save_job(again, second)
    assert stored(run_store, job) == second


# --- checkpoints


def test_a_checkpoint_comes_back_as_it_went_in_and_replaces_the_one_before(
    run_store: RunStore,
) -> None:
    job = with_job(run_store, a_claimed_job())
    first = a_checkpoint(job, state=Body(inline={"b": ["\x00", "\ud800"], "a": None}))
    second = a_checkpoint(
        job, number=2, saved_at=after(1), state=Body(reference=BodyReference("c" * 64, 9))
    )
    for checkpoint in (first, second, second):
        with run_store.begin(TENANT) as tx:
            tx.save_checkpoint(job, checkpoint)
        with run_store.begin(TENANT, read_only=True) as tx:
            assert tx.find_checkpoint(job.run_id, job.step) == checkpoint


def test_a_claim_on_one_job_is_none_on_the_checkpoint_of_another(run_store: RunStore) -> None:
    run, beside = a_run(), a_run()
    mine = a_claimed_job(run, step="a")
    strays = [a_claimed_job(run, step="b", position=1), a_claimed_job(beside, step="a")]
    added(run_store, run, mine, strays[0])
    added(run_store, beside, strays[1])
    for stray in strays:
        with pytest.raises(PermanentError), run_store.begin(TENANT) as tx:
            tx.save_checkpoint(mine, a_checkpoint(stray))
        with run_store.begin(TENANT) as tx:
            assert tx.find_checkpoint(stray.run_id, stray.step) is None


def test_a_checkpoint_outlives_the_attempt_that_saved_it(run_store: RunStore) -> None:
    job = with_job(run_store, a_claimed_job())
    with run_store.begin(TENANT) as tx:
        tx.save_checkpoint(job, a_checkpoint(job))
        tx.save_job(job, job.move_to(JobStatus.PENDING, after(1)))
    with run_store.begin(TENANT) as tx:
        assert tx.find_checkpoint(job.run_id, job.step) == a_checkpoint(job)


# --- breakers


def test_a_breaker_is_each_tenants_own_and_replaced_whole(run_store: RunStore) -> None:
    closed, opened = a_breaker(), a_breaker(failures=5, open_until=after(30), changed_at=after(1))
    with run_store.begin(TENANT) as tx:
        assert tx.find_breaker(closed.host) is None
        for breaker in (opened, closed, opened):
            tx.save_breaker(breaker)
            assert tx.find_breaker(breaker.host) == breaker
            assert tx.lock_breaker(breaker.host) == breaker
        assert tx.find_breaker("%") is None
    with run_store.begin("umbrella") as tx:
        assert tx.find_breaker(closed.host) is None
        assert tx.lock_breaker(closed.host) is None
        tx.save_breaker(replace(closed, tenant_id="umbrella"))
    with run_store.begin(TENANT) as tx:
        assert tx.find_breaker(closed.host) == opened


# --- locks


def test_a_held_lock_is_renewed(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.try_lock("run:1", "ada", after(0), after(60))
        assert tx.renew_lock("run:1", "ada", after(90))
        assert tx.find_lock_holder("run:1", after(89)) == "ada"
        assert not tx.try_lock("run:1", "bob", after(89), after(200))


def test_a_lock_that_ran_out_and_that_nobody_took_is_renewed(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.try_lock("run:1", "ada", after(0), after(60))
        assert tx.find_lock_holder("run:1", after(60)) is None
        assert tx.renew_lock("run:1", "ada", after(200))
        assert not tx.try_lock("run:1", "bob", after(199), after(300))


def test_a_lock_that_was_taken_over_is_not_renewed(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.try_lock("run:1", "ada", after(0), after(60))
        tx.try_lock("run:1", "bob", after(60), after(120))
        assert not tx.renew_lock("run:1", "ada", after(500))
        assert tx.find_lock_holder("run:1", after(119)) == "bob"
        assert tx.find_lock_holder("run:1", after(120)) is None


def test_a_lock_that_was_given_back_is_not_made_again(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.try_lock("run:1", "ada", after(0), after(60))
        tx.unlock("run:1", "ada")
        assert not tx.renew_lock("run:1", "ada", after(500))
        assert not tx.renew_lock("run:2", "ada", after(500))
        assert tx.find_lock_holder("run:1", after(1)) is None
        assert tx.find_lock_holder("run:2", after(1)) is None


def test_a_lock_of_another_tenant_is_not_renewed(run_store: RunStore) -> None:
    with run_store.begin(TENANT) as tx:
        tx.try_lock("run:1", "ada", after(0), after(60))
    with run_store.begin("umbrella") as tx:
        assert not tx.renew_lock("run:1", "ada", after(500))
    with run_store.begin(TENANT) as tx:
        assert tx.find_lock_holder("run:1", after(60)) is None
