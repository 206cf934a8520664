"""Jobs that take long: they wait, stop at safe points, save checkpoints, and are put down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import SuspendedError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult, WaitUntil
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services.attempt import AnotherAttempt, AttemptContext
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.engine import Walk
from factory_runtime.services.notes import write_notes
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.sweep import Swept, sweep
from tests.builders import TENANT, after
from tests.small_factory import SUCCEEDED, THRICE, Act, SmallFactory, busy, steps

DUE = after(600)

# --- waiting for something outside


def waits_once(context: JobContext, with_: Mapping[str, Any]) -> JobResult | WaitUntil:
    if context.facts.attempt == 1:
        context.intend("build", "build 7")
        return WaitUntil(DUE, "build 7", (ConfirmedEffect("build", "b-7"),), {"build_id": "b-7"})
    return JobResult(outputs={"build": context.intend("build", "build 7")})


def test_a_job_that_waits_holds_no_lease_and_none_of_its_budget(factory: SmallFactory):
    factory.on["a"] = waits_once
    walk = factory.start(steps(f"a: {THRICE}", "b: needs: [a]"))
    assert factory.attempt(walk, "a") == AnotherAttempt(DUE, Outcome.WAITING, "build 7")
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert job == walk.jobs["a"]
    assert (job.status, job.not_before, job.phrase) == (JobStatus.WAITING, DUE, "build 7")
    assert (job.lease_owner, job.lease_expires_at, job.failures) == (None, None, 0)
    assert job.build_id == "b-7"
    assert (attempt.outcome, attempt.error) == (Outcome.WAITING, None)
    (effect,) = factory.effects(walk.run)
    assert (effect.status, effect.reference) == (EffectStatus.CONFIRMED, "b-7")
    assert factory.ready(walk) == ["a"]


def test_a_job_that_waited_wakes_up_as_a_new_attempt(factory: SmallFactory):
    factory.on["a"] = waits_once
    walk = factory.start(steps("a: retry: {max_attempts: 1}"))
    factory.attempt(walk, "a")
    factory.clock.at = DUE
    assert factory.attempt(walk, "a") == SUCCEEDED
    assert walk.outputs["a"] == {"build": "b-7"}
    assert [a.outcome for a in factory.attempts(walk.run)] == [Outcome.WAITING, Outcome.SUCCEEDED]
    job = factory.jobs(walk.run)["a"]
    assert (job.attempt, job.failures, job.fencing_token, job.not_before) == (2, 0, 2, None)
    assert factory.moves(walk.run, "a") == ["Running", "Waiting", "Running", "Succeeded"]


def test_a_job_that_waits_survives_its_walk_and_every_sweep(factory: SmallFactory):
    factory.on["a"] = waits_once
    walk = factory.start(steps("a:"))
    factory.attempt(walk, "a")
    put_down(factory.engine, walk, RunStatus.WAITING, DUE)
    run = factory.run(walk.run)
    assert (run.status, run.wake_at, run.admitted_at) == (RunStatus.WAITING, DUE, None)
    factory.clock.at = DUE
    assert sweep(factory.store, factory.clock) == Swept()
    again = factory.take_up(walk.run)
    assert (again.run.status, again.run.wake_at) == (RunStatus.RUNNING, None)
    assert again.jobs["a"].status is JobStatus.WAITING
    assert factory.drive(again).status is RunStatus.SUCCEEDED


# --- safe points and checkpoints


def counts_to_three(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
    done = int((context.checkpoint() or {"done": 0})["done"])
    for number in range(done + 1, 4):
        context.log(f"{number}")
        context.save_checkpoint({"done": number})
        context.safe_point()
    return JobResult(outputs={"began_after": done})


def test_a_job_stops_at_its_next_safe_point_when_its_walk_is_to_end(factory: SmallFactory):
    factory.on["a"] = counts_to_three
    walk = factory.start(steps("a: retry: {max_attempts: 1}"))
    walk.suspending.set()
    stopped = factory.attempt(walk, "a")
    assert isinstance(stopped, AnotherAttempt)
    assert (stopped.outcome, stopped.not_before) == (Outcome.SUSPENDED, factory.clock.now())
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert (job.status, job.failures, job.lease_owner, job.error) == (
        JobStatus.PENDING, 0, None, None,
    )  # fmt: skip
    assert (attempt.outcome, attempt.error) == (Outcome.SUSPENDED, None)


def test_the_next_attempt_goes_on_from_the_checkpoint(factory: SmallFactory):
    factory.on["a"] = counts_to_three
    walk = factory.start(steps("a:"))
    walk.suspending.set()
    factory.attempt(walk, "a")
    put_down(factory.engine, walk)
    again = factory.take_up(walk.run)
    assert factory.finish(again, "a") == SUCCEEDED
    assert again.outputs["a"] == {"began_after": 1}
    lines = [event.detail["message"] for event in factory.events(walk.run, "log")]
    assert lines == ["1", "2", "3"]


def test_a_checkpoint_survives_a_kill(factory: SmallFactory):
    factory.on["a"] = counts_to_three
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    AttemptContext(factory.engine, walk, begun).save_checkpoint({"done": 2})
    again = factory.take_over(walk)
    assert factory.finish(again, "a") == SUCCEEDED
    assert again.outputs["a"] == {"began_after": 2}
    with factory.store.begin(TENANT, read_only=True) as tx:
        saved = tx.find_checkpoint(walk.run.id, "a")
    assert saved is not None
    assert (saved.number, saved.attempt, saved.job_type_version) == (2, 2, "1")


@pytest.mark.parametrize(("reads", "began_after"), [((), 0), (("1",), 2), (("0",), 0)])
def test_a_checkpoint_of_another_version_is_read_only_by_who_says_so(
    factory: SmallFactory, reads: tuple[str, ...], began_after: int
):
    factory.on["a"] = counts_to_three
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    AttemptContext(factory.engine, walk, begun).save_checkpoint({"done": 2})

    class Newer(Act):
        facts = replace(Act.facts, version="2", reads_checkpoints_of=reads)

    factory.job_types["act"] = Newer(factory.on)
    again = factory.take_over(walk)
    assert factory.finish(again, "a") == SUCCEEDED
    assert again.outputs["a"] == {"began_after": began_after}
    said = [str(event.detail["message"]) for event in factory.events(walk.run, "log")]
    assert any("begins anew" in line for line in said) == (began_after == 0)


def test_progress_is_written_down_now_and_then_and_ends_at_one(factory: SmallFactory):
    walk = factory.start(steps("a:", "b:"))
    begun = factory.begin(walk, "a")
    context = AttemptContext(factory.engine, walk, begun)
    for share, expected in ((0.25, 0.25), (7.0, 1.0), (-1.0, 0.0)):
        context.progress(share, "half way")
        write_notes(factory.engine, walk, begun)
        job = factory.jobs(walk.run)["a"]
        assert (job.progress, job.phrase) == (expected, "half way")
        assert job.version == begun.job.version
    assert factory.attempt(walk, "b") == SUCCEEDED
    assert factory.jobs(walk.run)["b"].progress is None


# --- an effect whose attempt was lost before it could say so


class Forge(Act):
    """A job type whose effect is a line in a list."""

    def __init__(self) -> None:
        super().__init__({})
        self.made: list[str] = []
        self.probed: list[Effect] = []

    def publish(self, context: JobContext, with_: Mapping[str, Any], tree: Any) -> JobResult:
        made = context.intend("build", "build 7", {"pipeline": 3})
        if made is None:
            made = self.make(context)
        return JobResult(outputs={"made": made}, effects=(ConfirmedEffect("build", made),))

    def make(self, context: JobContext) -> str:
        context.check_lease()
        self.made.append(context.facts.effect_key)
        return f"b-{len(self.made)}"

    def probe(self, host: Any, effect: Effect) -> str | None:
        self.probed.append(effect)
        return "b-1" if effect.effect_key in self.made else None


@pytest.mark.parametrize("done", [True, False])
def test_an_effect_of_a_lost_attempt_is_looked_for_and_not_done_again(
    factory: SmallFactory, done: bool
):
    forge = Forge()
    factory.job_types["act"] = forge
    walk = factory.start(steps("a:"))
    context = AttemptContext(factory.engine, walk, factory.begin(walk, "a"))
    assert context.intend("build", "build 7", {"pipeline": 3}) is None
    if done:
        forge.make(context)
    again = factory.take_over(walk)
    assert factory.finish(again, "a") == SUCCEEDED
    assert forge.made == [f"{walk.run.id}:a"]
    assert [effect.facts for effect in forge.probed] == [{"pipeline": 3}]
    (effect,) = factory.effects(walk.run)
    assert (effect.status, effect.reference) == (EffectStatus.CONFIRMED, "b-1")
    said = [str(event.detail["message"]) for event in factory.events(walk.run, "log")]
    assert any("found what an earlier attempt did" in line for line in said) == done


def test_a_probe_that_cannot_tell_now_lets_nothing_be_done(factory: SmallFactory):
    class Silent(Forge):
        def probe(self, host: Any, effect: Effect) -> str | None:
            raise busy()

    forge = Silent()
    factory.job_types["act"] = forge
    walk = factory.start(steps(f"a: {THRICE}"))
    AttemptContext(factory.engine, walk, factory.begin(walk, "a")).intend("build", "build 7")
    again = factory.take_over(walk)
    tried = factory.attempt(again, "a")
    assert isinstance(tried, AnotherAttempt)
    assert tried.outcome is Outcome.TRANSIENT
    assert forge.made == []


# --- putting a run down


def at_work(factory: SmallFactory) -> Walk:
    """A walk with one job done, one waiting, one under way and one to come."""
    factory.on["w"] = waits_once
    walk = factory.start(steps("done:", "w:", "a:", "later: needs: [a]"))
    factory.finish(walk, "done")
    factory.attempt(walk, "w")
    factory.begin(walk, "a")
    return walk


def test_a_run_put_down_gives_back_its_slot_its_lock_and_its_jobs(factory: SmallFactory):
    walk = at_work(factory)
    run = put_down(factory.engine, walk)
    assert run == factory.run(walk.run)
    assert (run.status, run.admitted_at, factory.walker(run)) == (RunStatus.RUNNING, None, None)
    statuses = {name: job.status for name, job in factory.jobs(run).items()}
    assert statuses == {"done": "Succeeded", "w": "Waiting", "a": "Pending", "later": "Pending"}
    job = factory.jobs(run)["a"]
    assert (job.losses, job.failures, job.lease_owner) == (0, 0, None)
    assert factory.attempts(run, "a")[0].outcome is Outcome.SUSPENDED
    factory.clock.at = DUE
    assert factory.drive(factory.take_up(run)).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("wanted", [RunStatus.PAUSED, RunStatus.WAITING, None])
def test_a_run_asked_to_pause_is_paused_whatever_it_was_put_down_for(
    factory: SmallFactory, wanted: RunStatus | None
):
    walk = at_work(factory)
    pause_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    run = put_down(factory.engine, walk, wanted, DUE)
    assert (run.status, run.pause_requested_at, run.wake_at) == (RunStatus.PAUSED, None, None)
    assert factory.jobs(run)["w"].status is JobStatus.WAITING


def test_a_pause_that_was_withdrawn_is_none(factory: SmallFactory):
    walk = at_work(factory)
    pause_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    resume_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    run = put_down(factory.engine, walk, RunStatus.PAUSED)
    assert (run.status, run.admitted_at) == (RunStatus.RUNNING, None)
    assert factory.admit(run).admitted_at is not None


@pytest.mark.parametrize("wanted", [RunStatus.PAUSED, RunStatus.WAITING, None])
def test_a_run_asked_to_stop_is_neither_paused_nor_waiting(
    factory: SmallFactory, wanted: RunStatus | None
):
    walk = at_work(factory)
    cancel_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    run = put_down(factory.engine, walk, wanted, DUE)
    assert (run.status, run.admitted_at) == (RunStatus.RUNNING, None)
    assert sweep(factory.store, factory.clock) == Swept(cancelled=1)


@pytest.mark.parametrize("wanted", [RunStatus.PAUSED, RunStatus.WAITING, None])
def test_a_run_that_ended_meanwhile_stays_as_it_is(factory: SmallFactory, wanted: RunStatus | None):
    walk = at_work(factory)
    cancelled = RunStatus.CANCELLED
    ended = end_run(factory.store, factory.clock, TENANT, walk.run.id, cancelled, "no")
    assert put_down(factory.engine, walk, wanted, DUE) == ended == factory.run(walk.run)


def test_a_run_that_another_process_has_is_not_put_down(factory: SmallFactory):
    walk = at_work(factory)
    other = factory.take_over(walk)
    assert put_down(factory.engine, walk) == factory.run(walk.run) == other.run
    assert factory.walker(walk.run) == other.holder


def test_putting_down_twice_is_putting_down_once(factory: SmallFactory):
    walk = at_work(factory)
    once = put_down(factory.engine, walk)
    events = factory.events(walk.run)
    assert put_down(factory.engine, walk) == once
    assert factory.events(walk.run) == events


def test_no_job_stops_at_a_safe_point_without_being_asked(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    context = AttemptContext(factory.engine, walk, factory.begin(walk, "a"))
    context.safe_point()
    walk.suspending.set()
    with pytest.raises(SuspendedError):
        context.safe_point()
