"""A store that goes away at any moment: what was done is recorded, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import INLINE_LIMIT
from factory_runtime.domain.errors import ConflictError, StoreUnavailableError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult, WaitUntil
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext, RunStore
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.dispatch import admit
from factory_runtime.services.end_run import close_run_if_done
from factory_runtime.services.engine import Engine, Walk, begin_walk
from factory_runtime.services.put_down import put_down
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from tests.builders import NOON, TENANT, after
from tests.faults import POINTS, FaultyStorage, FaultyStore, Point
from tests.records import record_of
from tests.small_factory import SUCCEEDED, SmallFactory, busy, gives, steps

WAKE = after(600)
TEXT = steps(
    "make: retry: {max_attempts: 3, delays: [1s], jitter: 0}",
    "wait: needs: [make]",
    "skip: needs: [make], when: '${{ steps.make.outputs.n > 1 }}'",
    "bad: needs: [wait], on_failure: continue",
    "last: needs: [bad], when: '${{ run.project == \"none\" }}'",
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries again does not wait first."""
    monkeypatch.setattr("factory_runtime.services.steadily._FIRST_WAIT", 0.0)


def make(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
    context.log(f"attempt {context.facts.attempt}")
    context.intend("repository", "shop/orders")
    context.save_checkpoint({"attempt": context.facts.attempt})
    if context.facts.attempt == 1:
        raise busy()
    draft = ArtifactDraft(ArtifactKind.REPOSITORY, "orders", "memory://orders", "text/x-git")
    return JobResult(
        outputs={"n": 1},
        artifacts=(draft,),
        effects=(ConfirmedEffect("repository", "r-1"),),
        external_ids={"repo_id": "r-1"},
    )


def wait(context: JobContext, with_: Mapping[str, Any]) -> JobResult | WaitUntil:
    context.log(f"attempt {context.facts.attempt}")
    if context.facts.attempt == 1:
        return WaitUntil(WAKE, "a pipeline")
    return JobResult()


def bad(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
    context.log("about to fail")
    raise ValueError("no")


def walk_through(factory: SmallFactory, store: RunStore) -> Run:
    """A run through everything that an executor writes, twice taken up, on this store."""
    factory.clock.at = NOON
    engine = factory.engine_of("build-7:1", store)
    run = factory.request()
    admit(factory.store, factory.clock, run, 1000, "build-7:1")
    walk = begin_walk(engine, TENANT, run.id, "flow-of-" + run.id)
    assert isinstance(walk, Walk)
    assert factory.finish(walk, "make", engine) == SUCCEEDED
    assert begin_attempt(engine, walk, "skip") == Ending(
        JobStatus.SKIPPED, factory.jobs(run)["skip"].skip_reason
    )
    waits = factory.attempt(walk, "wait", engine)
    assert waits == AnotherAttempt(WAKE, Outcome.WAITING, "a pipeline")
    assert put_down(engine, walk, RunStatus.WAITING, WAKE).status is RunStatus.WAITING
    factory.clock.at = WAKE
    admit(factory.store, factory.clock, factory.run(run), 1000, "build-7:1")
    walk = begin_walk(engine, TENANT, run.id, "flow-of-" + run.id)
    assert isinstance(walk, Walk)
    for name in ("wait", "bad", "last"):
        factory.finish(walk, name, engine)
    ended = close_run_if_done(engine, walk)
    assert ended == factory.run(run) == walk.run
    assert walk.jobs == factory.jobs(run)
    return ended


@pytest.fixture
def small(factory: SmallFactory) -> SmallFactory:
    factory.template(TEXT)
    factory.on.update(make=make, wait=wait, bad=bad)
    return factory


def test_the_undisturbed_walk_goes_through_everything(small: SmallFactory):
    record = record_of(small, walk_through(small, small.store))
    assert record.run[0] is RunStatus.SUCCEEDED
    statuses = [status for _, status, *_ in record.jobs]
    assert statuses == ["Succeeded", "Succeeded", "Skipped", "Failed", "Skipped"]
    assert [outcome for _, _, outcome, _ in record.attempts] == [
        Outcome.TRANSIENT,
        Outcome.SUCCEEDED,
        Outcome.WAITING,
        Outcome.PERMANENT,  # in the order of their beginnings, and then of names
        Outcome.SUCCEEDED,
    ]
    assert record.effects == (("repository", EffectStatus.CONFIRMED, "r-1"),)
    assert len(record.artifacts) == 1
    lines = [detail["message"] for _, _, kind, _, _, detail in record.events if kind == "log"]
    assert lines == ["attempt 1", "attempt 2", "attempt 1", "attempt 2", "about to fail"]


@pytest.mark.parametrize("point", POINTS)
def test_whichever_transaction_fails_the_record_is_the_same(small: SmallFactory, point: Point):
    plain = FaultyStore(small.store)
    undisturbed = record_of(small, walk_through(small, plain))
    for number, statements in enumerate(plain.statements, 1):
        for statement in {2, statements} if point == "between" else {0}:
            if statement > statements:
                continue
            store = FaultyStore(small.store, at={number: (point, statement)})
            run = walk_through(small, store)
            assert store.fired == {point: 1}
            assert record_of(small, run) == undisturbed, (point, number, statement)


@pytest.mark.parametrize("seed", range(4))
def test_a_store_that_fails_at_random_changes_nothing_of_the_record(small: SmallFactory, seed: int):
    undisturbed = record_of(small, walk_through(small, small.store))
    store = FaultyStore(small.store, seed=seed, rate=0.4)
    run = walk_through(small, store)
    assert sum(store.fired.values()) > 2
    assert record_of(small, run) == undisturbed


# --- away for too long


def impatient(small: SmallFactory, store: RunStore) -> Engine:
    """An executor that tries nothing twice."""
    return replace(small.engine_of("build-7:1", store), lease=timedelta(seconds=-1))


def test_a_success_whose_answer_was_lost_for_good_is_not_undone_by_its_failure(
    small: SmallFactory,
):
    walk = small.take_up(small.request())
    small.on["make"] = gives(n=1)
    begun = small.begin(walk, "make")
    store = FaultyStore(small.store, at={1: ("answer", 0)})
    with pytest.raises(StoreUnavailableError) as caught:
        publish_attempt(impatient(small, store), walk, begun, None)
    assert store.fired == {"answer": 1}
    with pytest.raises(ConflictError):
        fail_attempt(small.engine, walk, begun, caught.value)
    assert small.jobs(walk.run)["make"].status is JobStatus.SUCCEEDED
    (attempt,) = small.attempts(walk.run)
    assert attempt.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("point", POINTS)
def test_a_claim_that_could_not_be_told_is_taken_back_like_any_other(
    small: SmallFactory, point: Point
):
    walk = small.take_up(small.request())
    store = FaultyStore(small.store, at={1: (point, 2)})
    with pytest.raises(StoreUnavailableError):
        begin_attempt(impatient(small, store), walk, "make")
    assert store.fired == {point: 1}
    claimed = point == "answer"
    assert small.jobs(walk.run)["make"].attempt == claimed
    again = small.take_over(walk)
    assert isinstance(begin_attempt(small.engine, again, "make"), Begun)
    outcomes = [attempt.outcome for attempt in small.attempts(walk.run)]
    assert outcomes == ([Outcome.LOST, None] if claimed else [None])


# --- the disk is full


def test_a_full_disk_fails_an_attempt_and_none_of_it_is_recorded(small: SmallFactory):
    walk = small.take_up(small.request())
    storage = FaultyStorage(small.storage)
    engine = small.engine_of("build-7:1", storage=storage)
    small.on["make"] = gives(n=1, text="x" * INLINE_LIMIT)
    storage.full = True
    again = small.attempt(walk, "make", engine)
    assert isinstance(again, AnotherAttempt)
    assert storage.fired["put"] >= 1
    (attempt,) = small.attempts(walk.run)
    assert (attempt.outcome, attempt.error_code) == (Outcome.TRANSIENT, "storage-full")
    assert small.jobs(walk.run)["make"].outputs is None
    storage.full = False
    assert small.finish(walk, "make", engine) == SUCCEEDED


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(small: SmallFactory):
    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        found = context.checkpoint()
        if found is None:
            context.save_checkpoint({"done": 1})
            storage.full = True
            context.save_checkpoint({"done": 2, "text": "x" * INLINE_LIMIT})
        return JobResult(outputs={"n": 1, **(found or {})})

    walk = small.take_up(small.request())
    storage = FaultyStorage(small.storage)
    engine = small.engine_of("build-7:1", storage=storage)
    small.on["make"] = publish
    assert isinstance(small.attempt(walk, "make", engine), AnotherAttempt)
    assert storage.fired["put"] >= 1
    storage.full = False
    assert small.finish(walk, "make", engine) == SUCCEEDED
    assert walk.outputs["make"]["done"] == 1
