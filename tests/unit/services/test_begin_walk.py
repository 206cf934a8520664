"""Taking a run up: the first time, after a kill, and never beside a living executor."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    ConflictError,
    CorruptArtifactError,
    RunNotFoundError,
)
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.engine import (
    Engine,
    Walk,
    begin_walk,
    keep_walking,
    stop_walking,
)
from factory_runtime.services.take_back import LOSSES
from factory_runtime.telemetry import worker_name
from tests.builders import TENANT
from tests.small_factory import SmallFactory, busy, fails, gives, steps

HERE, _, _ = worker_name().rpartition(":")
CHAIN = steps("a:", "b: needs: [a]", "c: needs: [b]")


ALIVE = f"{HERE}:{os.getppid()}"
ELSEWHERE = "another-machine:1"


def walk_by(factory: SmallFactory, worker: str, text: str = CHAIN) -> tuple[Engine, Walk]:
    """A run that this worker has taken up."""
    factory.template(text)
    engine = factory.engine_of(worker)
    return engine, factory.take_up(factory.request(), engine=engine)


def killed_at(factory: SmallFactory, engine: Engine, walk: Walk, name: str, times: int) -> Walk:
    """The walk after so many that were killed with this job under way."""
    for _ in range(times):
        factory.begin(walk, name, engine)
        walk = factory.take_up(walk.run, engine=engine)
    return walk


def test_a_queued_run_becomes_running_under_its_flow_run(factory: SmallFactory):
    walk = factory.start(CHAIN)
    run = factory.run(walk.run)
    assert run == walk.run
    assert (run.status, run.flow_run_id) == (RunStatus.RUNNING, "flow-1")
    assert run.started_at == factory.clock.now()
    assert list(walk.jobs) == ["a", "b", "c"]
    assert (walk.endings, walk.outputs) == ({}, {})
    (event,) = (e for e in factory.events(run, "run") if e.to_status == "Running")
    assert event.detail == {"worker": factory.engine.worker}


def test_a_run_that_waits_to_be_admitted_is_not_taken_up(factory: SmallFactory):
    factory.template(CHAIN)
    run = factory.request()
    with pytest.raises(ConflictError, match="Validated and waits to be admitted"):
        begin_walk(factory.engine, TENANT, run.id, "flow-1")
    assert factory.run(run) == run
    assert factory.walker(run) is None


def test_an_unknown_run_and_another_tenants_are_not_found(factory: SmallFactory):
    walk = factory.start(CHAIN)
    for tenant, run_id in ((TENANT, "run-none"), ("other", walk.run.id)):
        with pytest.raises(RunNotFoundError):
            begin_walk(factory.engine, tenant, run_id, "flow-1")


def test_a_run_that_has_ended_is_given_back_as_it_is(factory: SmallFactory):
    run = factory.complete(CHAIN)
    for flow_run in ("flow-1", "flow-2"):
        given = begin_walk(factory.engine_of(ELSEWHERE), TENANT, run.id, flow_run)
        assert isinstance(given, Run)
        assert given == run


def test_another_flow_run_is_refused(factory: SmallFactory):
    walk = factory.start(CHAIN)
    with pytest.raises(ConflictError, match="flow-1"):
        begin_walk(factory.engine, TENANT, walk.run.id, "flow-2")


def test_a_run_that_was_launched_is_taken_up_by_its_own_flow_run_alone(factory: SmallFactory):
    factory.template(CHAIN)
    run = factory.request(flow_run_id="flow-9")
    factory.admit(run)
    with pytest.raises(ConflictError, match="flow-9"):
        begin_walk(factory.engine, TENANT, run.id, "flow-1")
    assert isinstance(begin_walk(factory.engine, TENANT, run.id, "flow-9"), Walk)


@pytest.mark.parametrize("worker", [ALIVE, ELSEWHERE])
def test_a_run_of_a_living_executor_is_refused_until_its_lock_expires(
    factory: SmallFactory, worker: str
):
    engine, walk = walk_by(factory, worker)
    begun = factory.begin(walk, "a", engine)
    factory.clock.pass_time(engine.lease - timedelta(seconds=1))
    with pytest.raises(ConflictError, match=worker):
        begin_walk(factory.engine, TENANT, walk.run.id, "flow-1")
    assert factory.jobs(walk.run)["a"] == begun.job
    assert factory.walker(walk.run) == walk.holder
    factory.clock.pass_time(timedelta(seconds=1))
    assert factory.walker(walk.run) is None
    assert factory.take_up(walk.run).jobs["a"].status is JobStatus.PENDING


def test_an_executor_that_keeps_its_lock_keeps_its_run(factory: SmallFactory):
    engine, walk = walk_by(factory, ELSEWHERE)
    for _ in range(3):
        factory.clock.pass_time(engine.lease * 0.9)
        assert keep_walking(engine, walk)
    with pytest.raises(ConflictError):
        begin_walk(factory.engine, TENANT, walk.run.id, "flow-1")


def test_an_executor_that_was_paused_too_long_learns_that_it_lost_its_run(factory: SmallFactory):
    engine, walk = walk_by(factory, ELSEWHERE)
    other = factory.take_over(walk)
    assert not keep_walking(engine, walk)
    stop_walking(engine, walk)  # not its own to give back any more
    assert factory.walker(walk.run) == other.holder


def test_a_run_given_back_is_free_at_once(factory: SmallFactory):
    engine, walk = walk_by(factory, ALIVE)
    stop_walking(engine, walk)
    assert factory.walker(walk.run) is None
    assert factory.take_up(walk.run).run.status is RunStatus.RUNNING


def test_a_killed_executors_run_is_free_at_once(factory: SmallFactory, dead: str):
    _engine, walk = walk_by(factory, dead)
    assert factory.walker(walk.run) is None
    assert factory.take_up(walk.run).run == walk.run


def test_the_job_of_a_killed_executor_goes_back_and_its_attempt_is_lost(
    factory: SmallFactory, dead: str
):
    engine, walk = walk_by(factory, dead)
    factory.begin(walk, "a", engine)
    factory.clock.pass_time()
    again = factory.take_up(walk.run)
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert job == again.jobs["a"]
    assert (job.status, job.attempt, job.lease_owner) == (JobStatus.PENDING, 1, None)
    assert (job.failures, job.losses) == (0, 1)
    assert (attempt.outcome, attempt.completed_at) == (Outcome.LOST, factory.clock.now())
    assert factory.drive(again).status is RunStatus.SUCCEEDED
    assert [a.number for a in factory.attempts(walk.run, "a")] == [1, 2]
    assert factory.jobs(walk.run)["a"].fencing_token == 2


def test_jobs_that_had_ended_are_not_run_again(factory: SmallFactory, dead: str):
    text = steps("a:", "x:", "b: needs: [a], with: {text: '${{ steps.a.outputs.url }}'}")
    factory.on["a"] = gives(url="u")
    factory.on["x"] = fails(ValueError("no"))
    engine, walk = walk_by(factory, dead, text)
    factory.finish(walk, "a")
    factory.finish(walk, "x")
    factory.begin(walk, "b", engine)
    factory.on["a"] = factory.on["x"] = fails(AssertionError("it ran again"))
    again = factory.take_up(walk.run)
    assert again.endings == walk.endings
    assert again.outputs == {"a": {"url": "u"}}
    run = factory.drive(again)
    assert (run.status, run.error) == (RunStatus.FAILED, "failed: x")
    assert factory.jobs(run)["b"].status is JobStatus.SUCCEEDED


def test_the_budget_of_attempts_survives_kills_and_is_not_spent_by_them(
    factory: SmallFactory, dead: str
):
    text = steps("a: retry: {max_attempts: 3, delays: [1s]}", "b: needs: [a]")
    factory.on["a"] = fails(busy())
    engine, walk = walk_by(factory, dead, text)
    assert isinstance(factory.attempt(walk, "a"), AnotherAttempt)
    factory.begin(walk, "a", engine)
    again = factory.take_up(walk.run)
    assert factory.drive(again).status is RunStatus.FAILED
    outcomes = [attempt.outcome for attempt in factory.attempts(walk.run, "a")]
    assert outcomes == [Outcome.TRANSIENT, Outcome.LOST, Outcome.TRANSIENT, Outcome.TRANSIENT]
    job = factory.jobs(walk.run)["a"]
    assert (job.attempt, job.failures, job.losses) == (4, 3, 1)


def test_a_job_that_kills_its_worker_in_every_attempt_fails_in_the_end(
    factory: SmallFactory, dead: str
):
    text = steps("a: retry: {max_attempts: 2}", "b: needs: [a]", "c:")
    engine, walk = walk_by(factory, dead, text)
    last = killed_at(factory, engine, walk, "a", LOSSES)
    job = factory.jobs(walk.run)["a"]
    assert (job.status, job.attempt, job.losses) == (JobStatus.FAILED, LOSSES, LOSSES)
    assert f"for the {LOSSES}th time" in str(job.error)
    assert (job.lease_owner, job.lease_expires_at) == (None, None)
    assert {attempt.outcome for attempt in factory.attempts(walk.run)} == {Outcome.LOST}
    run = factory.drive(last)
    jobs = factory.jobs(run)
    assert run.status is RunStatus.FAILED
    assert jobs["b"].skip_reason is SkipReason.NEED_FAILED
    assert jobs["c"].status is JobStatus.SUCCEEDED


def test_a_run_killed_between_its_last_job_and_its_taking_up_is_closed(
    factory: SmallFactory, dead: str
):
    engine, walk = walk_by(factory, dead, steps("a:"))
    again = killed_at(factory, engine, walk, "a", LOSSES)
    assert factory.ready(again) == []
    run = factory.drive(again)
    assert (run.status, run.error) == (RunStatus.FAILED, "failed: a")
    assert len(factory.messages("memory.run")) == 1


def test_the_wait_before_the_next_attempt_survives_a_kill(factory: SmallFactory, dead: str):
    text = steps("a: retry: {max_attempts: 3, delays: [60s], jitter: 0}")
    factory.on["a"] = fails(busy(), times=1)
    _engine, walk = walk_by(factory, dead, text)
    again = factory.attempt(walk, "a")
    assert isinstance(again, AnotherAttempt)
    assert factory.take_up(walk.run).jobs["a"].not_before == again.not_before


def test_a_run_asked_to_stop_while_nobody_executed_it_says_so_when_taken_up(
    factory: SmallFactory, dead: str
):
    _engine, walk = walk_by(factory, dead)
    cancel_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    assert factory.take_up(walk.run).run.cancel_requested_at is not None


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_run_whose_plan_is_gone_or_damaged_is_not_taken_up(factory: SmallFactory, damage: str):
    factory.template(CHAIN)
    run = factory.request()
    factory.admit(run)
    assert run.plan is not None
    assert run.plan.reference is not None
    factory.storage.delete(TENANT, run.plan.reference.digest)
    if damage == "changed":
        factory.storage.bodies[TENANT, run.plan.reference.digest] = b"{}"
    with pytest.raises(CorruptArtifactError):
        begin_walk(factory.engine, TENANT, run.id, "flow-1")
