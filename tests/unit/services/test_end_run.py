"""Stopping a run from outside, in every state it may be in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    ConflictError,
    IllegalTransitionError,
    RunNotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.run import RUN_ENDED, Run, RunStatus
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.run_attempt import publish_attempt
from tests.builders import TENANT
from tests.faults import POINTS, FaultyStore, Point
from tests.small_factory import SmallFactory, steps

TEXT = steps("done:", "busy:", "later: needs: [busy]")
OPEN = [
    RunStatus.VALIDATED, RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED,
]  # fmt: skip


def run_in(factory: SmallFactory, status: RunStatus) -> Run:
    """A run in an open status; where it runs, one job has ended and one is at work."""
    factory.template(TEXT)
    run = factory.request()
    if status is RunStatus.VALIDATED:
        return run
    queued = factory.admit(run)
    if status is RunStatus.QUEUED:
        return queued
    walk = factory.take_up(run)
    factory.finish(walk, "done")
    factory.begin(walk, "busy")
    if status is RunStatus.RUNNING:
        return walk.run
    with factory.store.begin(TENANT) as tx:
        moved = walk.run.move_to(status, factory.clock.now())
        tx.save_run(walk.run, moved)
    return moved


def end(factory: SmallFactory, run: Run, status: RunStatus, reason: str = "enough") -> Run:
    return end_run(factory.store, factory.clock, TENANT, run.id, status, reason)


def cancel(factory: SmallFactory, run: Run) -> Run:
    return cancel_run(factory.store, factory.clock, TENANT, run.id, "ada")


@pytest.mark.parametrize("status", OPEN)
def test_a_cancelled_run_takes_its_open_jobs_with_it(factory: SmallFactory, status: RunStatus):
    run = run_in(factory, status)
    factory.clock.pass_time()
    ended = end(factory, run, RunStatus.CANCELLED)
    assert ended == factory.run(run)
    assert (ended.status, ended.error) == (RunStatus.CANCELLED, "enough")
    assert ended.completed_at == factory.clock.now()
    jobs = factory.jobs(run)
    started = status in (RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED)
    assert jobs["done"].status is (JobStatus.SUCCEEDED if started else JobStatus.CANCELLED)
    assert {jobs[name].status for name in ("busy", "later")} == {JobStatus.CANCELLED}
    assert {job.lease_owner for job in jobs.values()} == {None}
    assert sorted(m.topic for m in factory.messages() if m.key == f"{run.id}:0") == [
        "memory.run",
        "prefect.show-run",
    ]


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.WAITING])
def test_a_run_ended_as_failed_can_be_sent_round_again_job_by_job(
    factory: SmallFactory, status: RunStatus
):
    run = run_in(factory, status)
    assert end(factory, run, RunStatus.FAILED).status is RunStatus.FAILED
    jobs = factory.jobs(run)
    assert (jobs["busy"].status, jobs["busy"].error) == (JobStatus.FAILED, "enough")
    assert jobs["later"].skip_reason is SkipReason.NEED_FAILED
    for name in ("busy", "later"):
        assert jobs[name].move_to(JobStatus.PENDING, factory.clock.now())


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(RunStatus.CANCELLED, Outcome.CANCELLED), (RunStatus.FAILED, Outcome.LOST)],
)
def test_no_attempt_of_an_ended_run_stays_open(
    factory: SmallFactory, status: RunStatus, outcome: Outcome
):
    run = run_in(factory, RunStatus.RUNNING)
    factory.clock.pass_time()
    end(factory, run, status)
    done, busy = (factory.attempts(run, step)[0] for step in ("done", "busy"))
    assert done.outcome is Outcome.SUCCEEDED
    assert (busy.outcome, busy.error) == (outcome, "enough")
    assert busy.completed_at == factory.clock.now()


def test_a_job_that_goes_on_after_its_run_was_ended_records_nothing(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    ended = end(factory, walk.run, RunStatus.CANCELLED)
    with pytest.raises(StaleVersionError):
        publish_attempt(factory.engine, walk, begun, None)
    assert factory.run(ended) == ended
    assert factory.jobs(ended)["a"].outputs is None


def test_ending_a_run_twice_in_the_same_way_is_ending_it_once(factory: SmallFactory):
    run = run_in(factory, RunStatus.RUNNING)
    first = end(factory, run, RunStatus.CANCELLED)
    events = factory.events(run)
    factory.clock.pass_time()
    assert end(factory, run, RunStatus.CANCELLED, "another reason") == first
    assert factory.events(run) == events


def test_a_run_that_has_ended_cannot_end_in_another_way(factory: SmallFactory):
    run = factory.complete(steps("a:"))
    for status in (RunStatus.CANCELLED, RunStatus.FAILED):
        with pytest.raises(IllegalTransitionError, match="Succeeded"):
            end(factory, run, status)
    assert factory.run(run) == run


@pytest.mark.parametrize(
    "status", [RunStatus.VALIDATED, RunStatus.QUEUED, RunStatus.WAITING, RunStatus.PAUSED]
)
def test_a_run_that_nobody_executes_is_cancelled_at_once(factory: SmallFactory, status: RunStatus):
    run = cancel(factory, run_in(factory, status))
    assert (run.status, run.error) == (RunStatus.CANCELLED, "cancelled by ada")
    assert cancel(factory, run) == run


def test_a_run_that_its_process_put_down_is_cancelled_at_once(factory: SmallFactory):
    walk = factory.start(TEXT)
    put_down(factory.engine, walk)
    assert cancel(factory, walk.run).status is RunStatus.CANCELLED


def test_a_run_that_is_executed_is_asked_to_stop_once(factory: SmallFactory):
    run = run_in(factory, RunStatus.RUNNING)
    asked = cancel(factory, run)
    assert asked.status is RunStatus.RUNNING
    assert asked.cancel_requested_at == factory.clock.now()
    assert factory.jobs(run)["busy"].status is JobStatus.RUNNING
    factory.clock.pass_time()
    assert cancel(factory, run) == asked == factory.run(run)


def test_a_run_that_has_ended_cannot_be_cancelled(factory: SmallFactory):
    succeeded = factory.complete(steps("a:"))
    with pytest.raises(IllegalTransitionError, match="Succeeded"):
        cancel(factory, succeeded)


@pytest.mark.parametrize(("tenant", "run_id"), [(TENANT, "run-none"), ("other", None)])
def test_an_unknown_run_and_another_tenants_are_not_found(
    factory: SmallFactory, tenant: str, run_id: str | None
):
    run = run_in(factory, RunStatus.RUNNING)
    wanted = run_id or run.id
    with pytest.raises(RunNotFoundError):
        cancel_run(factory.store, factory.clock, tenant, wanted, "eve")
    with pytest.raises(RunNotFoundError):
        end_run(factory.store, factory.clock, tenant, wanted, RunStatus.FAILED, "no")
    assert factory.run(run) == run


@pytest.mark.parametrize("_round", range(5))
def test_an_end_and_a_last_job_that_race_leave_one_end(factory: SmallFactory, _round: int):
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    together = Barrier(2)

    def stop() -> object:
        together.wait()
        return end(factory, walk.run, RunStatus.CANCELLED)

    def finish() -> object:
        together.wait()
        return publish_attempt(factory.engine, walk, begun, None)

    with ThreadPoolExecutor(2) as pool:
        raised = [task.exception() for task in (pool.submit(stop), pool.submit(finish))]
    assert len([error for error in raised if isinstance(error, ConflictError)]) == 1
    run = factory.run(walk.run)
    assert [status for status in factory.moves(run) if status in RUN_ENDED] == [run.status]
    ended = JobStatus.CANCELLED if run.status is RunStatus.CANCELLED else JobStatus.SUCCEEDED
    assert factory.jobs(run)["a"].status is ended


@pytest.mark.parametrize("point", POINTS)
def test_a_run_ends_once_though_the_store_was_too_busy_at_first(
    factory: SmallFactory, point: Point
) -> None:
    run = run_in(factory, RunStatus.RUNNING)
    faulty = FaultyStore(factory.store, at={1: (point, 3)})
    ended = end_run(faulty, factory.clock, TENANT, run.id, RunStatus.FAILED, "enough")
    assert faulty.fired[point] == 1
    assert ended == factory.run(run)
    assert factory.moves(run)[-2:] == [RunStatus.RUNNING, RunStatus.FAILED]
