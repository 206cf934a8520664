"""Leases: renewed by who lives, lost by who does not, and nothing written by who lost one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import ConflictError, LeaseLostError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services.attempt import AttemptContext, Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.end_run import close_run_if_done
from factory_runtime.services.engine import LEASE, Engine, Walk, keep_walking
from factory_runtime.services.notes import write_notes
from factory_runtime.services.put_down import put_down
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from factory_runtime.services.sweep import Swept, sweep
from tests.builders import NOON
from tests.records import record_of
from tests.small_factory import SmallFactory, busy, fails, steps

STALE, FRESH = "another-machine:1", "third-machine:2"
TEXT = steps(
    "a:", "ok:", "b: needs: [ok]", "bad: on_failure: fail", "skipped: needs: [bad]", "last:"
)


@dataclass
class Stopped:
    """A worker that was stopped with job ``a`` under way, and comes back after a takeover."""

    factory: SmallFactory
    engine: Engine
    walk: Walk
    begun: Begun
    other: Walk
    other_engine: Engine

    @property
    def context(self) -> AttemptContext:
        return AttemptContext(self.engine, self.walk, self.begun)


@pytest.fixture(params=["taken over", "swept first"])
def stopped(factory: SmallFactory, request: pytest.FixtureRequest) -> Stopped:
    factory.template(TEXT)
    factory.on["bad"] = fails(ValueError("no"))
    engine, other_engine = factory.engine_of(STALE), factory.engine_of(FRESH)
    walk = factory.take_up(factory.request(), engine=engine)
    factory.finish(walk, "ok", engine)
    factory.finish(walk, "bad", engine)
    begun = factory.begin(walk, "a", engine)
    if request.param == "swept first":
        factory.clock.pass_time(LEASE)
        assert sweep(factory.store, factory.clock) == Swept(left=1)
        other = factory.take_up(walk.run, engine=other_engine)
    else:
        other = factory.take_over(walk, other_engine)
    return Stopped(factory, engine, walk, begun, other, other_engine)


def _checkpoint(stopped: Stopped) -> None:
    stopped.context.save_checkpoint({"done": 1})


def _progress(stopped: Stopped) -> None:
    stopped.begun.tell_progress(0.5, "half")
    stopped.begun.logs.append((NOON, "still here"))
    write_notes(stopped.engine, stopped.walk, stopped.begun)


WRITES: dict[str, Callable[[Stopped], object]] = {
    "claim": lambda s: begin_attempt(s.engine, s.walk, "b"),
    "skip": lambda s: begin_attempt(s.engine, s.walk, "skipped"),
    "publish": lambda s: publish_attempt(s.engine, s.walk, s.begun, None),
    "fail": lambda s: fail_attempt(s.engine, s.walk, s.begun, busy()),
    "fail for good": lambda s: fail_attempt(s.engine, s.walk, s.begun, ValueError("no")),
    "intend": lambda s: s.context.intend("repository", "shop/orders"),
    "ask": lambda s: s.context.check_lease(),
    "checkpoint": _checkpoint,
}
QUIET: dict[str, Callable[[Stopped], object]] = {
    "progress and log": _progress,
    "heartbeat": lambda s: keep_walking(s.engine, s.walk),
    "put down": lambda s: put_down(s.engine, s.walk),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_worker_that_comes_back_after_a_takeover_is_refused(stopped: Stopped, what: str):
    before = record_of(stopped.factory, stopped.walk.run)
    jobs = stopped.factory.jobs(stopped.walk.run)
    with pytest.raises(ConflictError):
        WRITES[what](stopped)
    assert record_of(stopped.factory, stopped.walk.run) == before
    assert stopped.factory.jobs(stopped.walk.run) == jobs


@pytest.mark.parametrize("what", QUIET)
def test_what_a_stale_worker_writes_beside_its_work_is_lost(stopped: Stopped, what: str):
    before = record_of(stopped.factory, stopped.walk.run)
    jobs = stopped.factory.jobs(stopped.walk.run)
    QUIET[what](stopped)
    assert record_of(stopped.factory, stopped.walk.run) == before
    assert stopped.factory.jobs(stopped.walk.run) == jobs
    assert stopped.factory.walker(stopped.walk.run) == stopped.other.holder


@pytest.mark.parametrize("what", WRITES)
def test_it_is_refused_while_the_other_is_at_the_same_job_too(stopped: Stopped, what: str):
    factory, other = stopped.factory, stopped.other
    theirs = {n: factory.begin(other, n, stopped.other_engine) for n in ("a", "b")}
    with pytest.raises(ConflictError):
        WRITES[what](stopped)
    jobs = factory.jobs(other.run)
    assert {name: jobs[name] for name in theirs} == {n: b.job for n, b in theirs.items()}
    assert not keep_walking(stopped.engine, stopped.walk)
    run = factory.drive(factory.take_over(other))
    assert run.status is RunStatus.FAILED  # of what failed, and of nothing else
    outcomes = [attempt.outcome for attempt in factory.attempts(run, "a")]
    assert outcomes == [Outcome.LOST, Outcome.LOST, Outcome.SUCCEEDED]


def test_a_stale_walk_does_not_close_the_run(factory: SmallFactory):
    walk = factory.start(
        """
        inputs: {type: object, properties: {n: {type: array, items: {type: string}, default: []}}}
        steps: [{name: a, type: act, each: "${{ inputs.n }}"}]
        """
    )
    other = factory.take_over(walk)
    with pytest.raises(LeaseLostError):
        close_run_if_done(factory.engine, walk)
    assert close_run_if_done(factory.engine, other).status is RunStatus.SUCCEEDED
    assert close_run_if_done(factory.engine, walk).status is RunStatus.SUCCEEDED


def test_a_heartbeat_renews_the_run_and_the_jobs_under_way(factory: SmallFactory):
    walk = factory.start(steps("a:", "b:", "c:"))
    factory.begin(walk, "a")
    factory.finish(walk, "b")
    for _ in range(3):
        factory.clock.pass_time(LEASE * 0.9)
        assert keep_walking(factory.engine, walk)
        jobs = factory.jobs(walk.run)
        assert jobs["a"].lease_expires_at == factory.clock.now() + LEASE
        assert {jobs[n].lease_expires_at for n in "bc"} == {None}
        assert jobs["a"].version == walk.jobs["a"].version
        assert sweep(factory.store, factory.clock) == Swept()


def test_a_heartbeat_that_is_late_saves_what_nobody_has_taken_yet(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    factory.clock.pass_time(5 * LEASE)
    assert keep_walking(factory.engine, walk)
    assert sweep(factory.store, factory.clock) == Swept()
    publish_attempt(factory.engine, walk, begun, None)
    assert factory.run(walk.run).status is RunStatus.SUCCEEDED


def test_a_worker_killed_before_its_first_heartbeat_is_recovered_like_any_other(
    factory: SmallFactory,
):
    walk = factory.start(steps("a:"))
    factory.begin(walk, "a")
    factory.clock.pass_time(LEASE - timedelta(seconds=1))
    assert sweep(factory.store, factory.clock) == Swept()
    factory.clock.pass_time(timedelta(seconds=1))
    assert sweep(factory.store, factory.clock) == Swept(left=1)
    job = factory.jobs(walk.run)["a"]
    assert (job.status, job.lease_owner, job.losses, job.failures) == (
        JobStatus.PENDING, None, 1, 0,
    )  # fmt: skip
    assert factory.drive(factory.take_up(walk.run)).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("jump", [timedelta(hours=1), -timedelta(hours=1)])
def test_a_clock_that_jumps_on_one_worker_doubles_nothing(factory: SmallFactory, jump: timedelta):
    done: list[int] = []

    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        if context.intend("repository", "shop/orders") is None:
            context.check_lease()
            done.append(context.facts.attempt)
        return JobResult()

    factory.on["a"] = publish
    right, wrong = factory.engine_of(STALE), factory.engine_of(FRESH)
    factory.template(steps("a:", "b: needs: [a]"))
    walk = factory.take_up(factory.request(), engine=right)
    begun = factory.begin(walk, "a", right)
    factory.clock.pass_time(jump)  # as the other worker sees it
    swept = sweep(factory.store, factory.clock)
    if jump < timedelta(0):
        assert swept == Swept()
        factory.clock.pass_time(-jump)  # and back on the first one
        publish_attempt(right, walk, begun, None)
        assert factory.drive(walk, right).status is RunStatus.SUCCEEDED
    else:
        assert swept == Swept(left=1)
        other = factory.take_up(walk.run, engine=wrong)
        theirs = factory.begin(other, "a", wrong)
        factory.clock.pass_time(-jump)
        assert not keep_walking(right, walk)
        with pytest.raises(ConflictError):
            publish_attempt(right, walk, begun, None)
        publish_attempt(wrong, other, theirs, None)
        assert factory.drive(other, wrong).status is RunStatus.SUCCEEDED
    assert len(done) == 1
    assert factory.moves(walk.run).count("Succeeded") == 1
    assert factory.moves(walk.run, "a").count("Succeeded") == 1
