"""What is recorded of an attempt that fails or is stopped, and what follows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import INLINE_LIMIT, Body
from factory_runtime.domain.errors import (
    CancelledError,
    HostRejectedError,
    StorageFullError,
    StoreUnavailableError,
)
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.bodies import from_body
from factory_runtime.services.end_run import close_run_if_last
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.run_attempt import (
    fail_attempt,
    publish_attempt,
)
from tests.builders import NOON, TENANT, after
from tests.small_factory import (
    SUCCEEDED,
    THRICE,
    SmallFactory,
    busy,
    fails,
    gives,
    raises,
    steps,
)

FAILED = Ending(JobStatus.FAILED)


def trace_of(factory: SmallFactory, run: Run, step: str, number: int = 1) -> str:
    attempt = factory.attempts(run, step)[number - 1]
    return str(from_body(factory.storage, TENANT, attempt.traceback))


def test_a_transient_error_allows_another_attempt_later(factory: SmallFactory):
    factory.on["a"] = fails(busy(), times=1)
    walk = factory.start(steps(f"a: {THRICE}"))
    again = factory.attempt(walk, "a")
    assert again == AnotherAttempt(after(1), Outcome.TRANSIENT, "the host is busy\nwait")
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert job == walk.jobs["a"]
    assert (job.status, job.attempt, job.not_before) == (JobStatus.PENDING, 1, after(1))
    assert (job.lease_owner, job.lease_expires_at) == (None, None)
    assert job.error == "the host is busy\nwait"
    assert (attempt.outcome, attempt.error_code) == (Outcome.TRANSIENT, "transient")
    assert "busy" in trace_of(factory, walk.run, "a")
    assert factory.detail(walk.run, "a", JobStatus.PENDING)["reason"] == job.error
    assert factory.attempt(walk, "a") == SUCCEEDED
    job = factory.jobs(walk.run)["a"]
    assert (job.attempt, job.not_before, job.error, job.fencing_token) == (2, None, None, 2)
    assert factory.moves(walk.run, "a") == ["Running", "Pending", "Running", "Succeeded"]


def test_the_waits_grow_as_the_policy_says_and_the_last_repeats(factory: SmallFactory):
    factory.on["a"] = fails(busy(), times=4)
    walk = factory.start(steps("a: retry: {max_attempts: 5, delays: [1s, 2s, 4s], jitter: 0}"))
    waits: list[float] = []
    while isinstance(again := factory.attempt(walk, "a"), AnotherAttempt):
        waits.append((again.not_before - factory.clock.at).total_seconds())
        factory.clock.at = again.not_before
    assert waits == [1, 2, 4, 4]
    assert again == SUCCEEDED


def test_jitter_stretches_a_wait_and_never_shortens_it(factory: SmallFactory):
    factory.on["a"] = fails(busy())
    walk = factory.start(steps("a: retry: {max_attempts: 20, delays: [10s], jitter: 0.5}"))
    waits: list[float] = []
    while isinstance(again := factory.attempt(walk, "a"), AnotherAttempt):
        waits.append((again.not_before - factory.clock.at).total_seconds())
    assert len(set(waits)) > 1
    assert all(10 <= wait <= 15 for wait in waits)


@pytest.mark.parametrize(("asked", "wait"), [(30, 30), (0.5, 1), (-5, 1)])
def test_the_next_attempt_waits_as_long_as_the_other_side_asked(
    factory: SmallFactory, asked: float, wait: float
):
    factory.on["a"] = fails(busy(asked), times=1)
    walk = factory.start(steps(f"a: {THRICE}"))
    again = factory.attempt(walk, "a")
    assert isinstance(again, AnotherAttempt)
    assert again.not_before == after(wait)


def test_nobody_is_asked_to_wait_beyond_the_calendar(factory: SmallFactory):
    error = busy()
    error.retry_after = timedelta.max
    factory.on["a"] = fails(error, times=1)
    walk = factory.start(steps(f"a: {THRICE}"))
    again = factory.attempt(walk, "a")
    assert isinstance(again, AnotherAttempt)
    assert again.not_before <= NOON + timedelta(days=1)


def test_a_job_out_of_attempts_fails_with_its_last_error(factory: SmallFactory):
    factory.on["a"] = fails(busy())
    run = factory.complete(steps(f"a: {THRICE}"))
    job, attempts = factory.jobs(run)["a"], factory.attempts(run)
    assert (run.status, run.error) == (RunStatus.FAILED, "failed: a")
    assert (job.status, job.attempt, job.error) == (JobStatus.FAILED, 3, "the host is busy\nwait")
    assert [attempt.outcome for attempt in attempts] == [Outcome.TRANSIENT] * 3
    assert [attempt.number for attempt in attempts] == [1, 2, 3]


def test_a_permanent_error_fails_the_job_at_once(factory: SmallFactory):
    factory.on["a"] = fails(HostRejectedError("no right to do that", hint="ask for it"))
    run = factory.complete(steps(f"a: {THRICE}"))
    job, (attempt,) = factory.jobs(run)["a"], factory.attempts(run)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert job.error == attempt.error == "no right to do that\nask for it"
    assert (attempt.outcome, attempt.error_code) == (Outcome.PERMANENT, "host-rejected")
    assert (job.lease_owner, job.lease_expires_at) == (None, None)
    assert factory.detail(run, "a", JobStatus.FAILED)["reason"] == job.error


def test_an_error_nobody_foresaw_is_permanent_and_keeps_its_traceback(factory: SmallFactory):
    factory.on["a"] = fails(ValueError("that is no number"))
    run = factory.complete(steps(f"a: {THRICE}"))
    job, (attempt,) = factory.jobs(run)["a"], factory.attempts(run)
    assert (job.attempt, job.error) == (1, "ValueError: that is no number")
    assert (attempt.outcome, attempt.error_code) == (Outcome.PERMANENT, "ValueError")
    assert "Traceback" in trace_of(factory, run, "a")
    assert "in behaviour" in trace_of(factory, run, "a")


def test_an_endless_error_is_cut_in_its_rows_and_whole_in_its_traceback(factory: SmallFactory):
    text = "x" * 100_000 + "\x00\ud800"
    factory.on["a"] = fails(ValueError(text))
    run = factory.complete(steps("a:"))
    job, (attempt,) = factory.jobs(run)["a"], factory.attempts(run)
    assert len(str(job.error)) < INLINE_LIMIT
    assert job.error == attempt.error
    assert attempt.traceback is not None
    assert attempt.traceback.inline is None
    assert text in trace_of(factory, run, "a")
    for event in factory.events(run):
        assert len(json.dumps(dict(event.detail))) < INLINE_LIMIT


def test_a_failure_is_recorded_even_where_its_traceback_cannot_be_stored(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    factory.on["a"] = fails(ValueError("x" * 100_000))
    walk = factory.start(steps("a:"))
    monkeypatch.setattr(factory.storage, "put", raises(StorageFullError("no room left")))
    assert factory.attempt(walk, "a") == FAILED
    assert "ValueError: xxx" in trace_of(factory, walk.run, "a")


@pytest.mark.parametrize("outputs", [{"a": {1, 2}}, {"a": float("nan")}, {"a": object()}])
def test_outputs_that_are_no_json_fail_the_job(factory: SmallFactory, outputs: dict[str, Any]):
    factory.on["a"] = gives(**outputs)
    run = factory.complete(steps("a:"))
    assert (run.status, factory.jobs(run)["a"].status) == (RunStatus.FAILED, JobStatus.FAILED)


def test_a_job_that_fails_after_its_effect_finds_it_in_its_next_attempt(factory: SmallFactory):
    found: list[str | None] = []

    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        found.append(context.intend("repository", "shop/orders"))
        name = context.host.ensure_repository(
            TENANT, "shop", "orders", effect_key=context.facts.effect_key, description=""
        )
        if context.facts.attempt == 1:
            raise busy()
        return JobResult(effects=(ConfirmedEffect("repository", name.id),))

    factory.on["a"] = publish
    run = factory.complete(steps(f"a: {THRICE}"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        (effect,) = tx.list_effects(run_id=run.id)
    assert run.status is RunStatus.SUCCEEDED
    assert found == [None, None]  # intended, but never confirmed before
    assert effect.status is EffectStatus.CONFIRMED
    assert effect.intended_at == NOON


def test_a_confirmed_effect_is_told_to_the_next_attempt(factory: SmallFactory):
    found: list[str | None] = []

    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        found.append(context.intend("repository", "shop/orders"))
        if context.facts.attempt == 1:
            with factory.store.begin(TENANT) as tx:
                tx.confirm_effect(context.facts.effect_key, "repository", "r-1", NOON)
            raise busy()
        return JobResult(effects=(ConfirmedEffect("repository", "r-1"),))

    factory.on["a"] = publish
    assert factory.complete(steps(f"a: {THRICE}")).status is RunStatus.SUCCEEDED
    assert found == [None, "r-1"]


def test_an_effect_that_was_never_intended_fails_the_job(factory: SmallFactory):
    factory.on["a"] = lambda _c, _w: JobResult(effects=(ConfirmedEffect("repository", "r-1"),))
    run = factory.complete(steps("a:"))
    assert run.status is RunStatus.FAILED
    assert factory.jobs(run)["a"].outputs is None


def test_lines_logged_before_a_failure_are_kept_with_their_attempt(factory: SmallFactory):
    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        context.log(f"attempt {context.facts.attempt}")
        if context.facts.attempt < 3:
            raise busy()
        return JobResult()

    factory.on["a"] = publish
    run = factory.complete(steps(f"a: {THRICE}"))
    lines = [dict(event.detail) for event in factory.events(run, "log")]
    assert lines == [{"message": f"attempt {n}", "attempt": n} for n in (1, 2, 3)]


def test_lines_survive_a_success_that_could_not_be_committed(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        context.log("did it")
        return JobResult()

    factory.on["a"] = publish
    walk = factory.start(steps(f"a: {THRICE}"))
    begun = factory.begin(walk, "a")
    # The store goes away at the very end of the transaction.
    with monkeypatch.context() as patch:
        patch.setattr(
            "factory_runtime.services.end_job.close_run_if_last",
            raises(StoreUnavailableError("the database went away")),
        )
        with pytest.raises(StoreUnavailableError):
            publish_attempt(replace(factory.engine, lease=timedelta(0)), walk, begun, None)
    assert walk.outputs == {}
    assert walk.endings == {}
    error = StoreUnavailableError("the database went away")
    assert isinstance(fail_attempt(factory.engine, walk, begun, error), AnotherAttempt)
    assert [event.detail["attempt"] for event in factory.events(walk.run, "log")] == [1]
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert [event.detail["attempt"] for event in factory.events(walk.run, "log")] == [1, 2]


def test_a_walk_learns_what_a_job_made_once_that_is_committed(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    # Another thread of this process, which is late with the same job, takes nothing of it away.
    factory.on["a"] = gives(n=1)
    walk = factory.start(steps("a:") + 'outputs: {n: "${{ steps.a.outputs.n }}"}\n')
    known: list[Mapping[str, Any]] = []

    def close(engine: Engine, behind: Walk, *more: Any) -> Run:
        known.extend((dict(walk.outputs), dict(walk.endings), dict(behind.outputs)))
        return close_run_if_last(engine, behind, *more)

    monkeypatch.setattr("factory_runtime.services.end_job.close_run_if_last", close)
    factory.finish(walk, "a")
    assert known == [{}, {}, {"a": {"n": 1}}]
    assert (walk.outputs, walk.run.outputs) == ({"a": {"n": 1}}, Body({"n": 1}))


def test_a_line_that_is_said_while_others_are_written_down_is_not_lost(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        hide_in = begun.secrets.hide_in
        written: list[Any] = []

        def hide_beside_a_writer(text: str) -> str:
            written.extend(begun.take_logs())
            return hide_in(text)

        with monkeypatch.context() as patch:
            patch.setattr(begun.secrets, "hide_in", hide_beside_a_writer)
            context.log("first")
            context.log("second")
        assert [line for _, line in written] == ["first"]
        return JobResult()

    factory.on["a"] = publish
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    publish_attempt(factory.engine, walk, begun, None)
    assert [event.detail["message"] for event in factory.events(walk.run, "log")] == ["second"]


# --- stopping


def test_a_job_stopped_while_it_publishes_is_cancelled(factory: SmallFactory):
    walk = factory.start(steps("a:", "b: needs: [a]"))

    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        begun.stopped.set()
        context.check_cancelled()
        raise AssertionError("it was not stopped")

    factory.on["a"] = publish
    begun = factory.begin(walk, "a")
    with pytest.raises(CancelledError) as caught:
        publish_attempt(factory.engine, walk, begun, None)
    assert fail_attempt(factory.engine, walk, begun, caught.value) == Ending(JobStatus.CANCELLED)
    (attempt,) = factory.attempts(walk.run)
    assert attempt.outcome is Outcome.CANCELLED
    run = factory.drive(walk)
    assert run.status is RunStatus.CANCELLED
    assert factory.jobs(run)["b"].skip_reason is SkipReason.NEED_FAILED


def test_a_job_stopped_before_it_publishes_does_nothing(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    factory.on["a"] = fails(AssertionError("it published"))
    begun = factory.begin(walk, "a")
    begun.stopped.set()
    with pytest.raises(CancelledError):
        publish_attempt(factory.engine, walk, begun, None)


def test_a_stopped_job_begins_no_new_effect(factory: SmallFactory):
    walk = factory.start(steps("a:"))

    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        begun.stopped.set()
        context.intend("repository", "shop/orders")
        raise AssertionError("it was not stopped")

    factory.on["a"] = publish
    begun = factory.begin(walk, "a")
    with pytest.raises(CancelledError):
        publish_attempt(factory.engine, walk, begun, None)
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert tx.list_effects(run_id=walk.run.id) == ()
