"""Jobs that several executors want, and the last one, which closes its run."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Barrier, Event
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    ConflictError,
    DuplicateAttemptError,
    StaleVersionError,
    StoreUnavailableError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import JobContext, RunFilter
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.bodies import from_body
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.engine import Walk
from factory_runtime.services.run_attempt import (
    fail_attempt,
    publish_attempt,
)
from tests.builders import NOON, TENANT, an_attempt
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


def test_an_attempt_that_stands_already_is_not_begun_again(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    with factory.store.begin(TENANT) as tx:
        tx.add_attempt(an_attempt(walk.jobs["a"], 1))
    with pytest.raises(DuplicateAttemptError):
        begin_attempt(factory.engine, walk, "a")
    assert factory.jobs(walk.run)["a"].status is JobStatus.PENDING


def test_a_job_that_two_executors_claim_is_claimed_by_one(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    other = replace(walk, jobs=dict(walk.jobs))
    together = Barrier(2)

    def claim(mine: Walk) -> str:
        together.wait()
        try:
            factory.begin(mine, "a")
        except ConflictError as error:
            return error.code
        return "claimed"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(claim, (walk, other)))[0] == "claimed"
    assert len(factory.attempts(walk.run)) == 1


def test_a_worker_whose_job_was_taken_over_cannot_record_its_result(factory: SmallFactory):
    walk = factory.start(steps("a:", "b: needs: [a]"))
    slow = factory.begin(walk, "a")
    other = factory.take_over(walk)
    factory.on["a"] = gives(by="the other")
    assert factory.finish(other, "a") == SUCCEEDED
    factory.on["a"] = gives(by="the slow one")
    with pytest.raises(StaleVersionError):
        publish_attempt(factory.engine, walk, slow, None)
    with pytest.raises(StaleVersionError):
        fail_attempt(factory.engine, walk, slow, busy())
    job = factory.jobs(walk.run)["a"]
    assert from_body(factory.storage, TENANT, job.outputs) == {"by": "the other"}
    assert [attempt.outcome for attempt in factory.attempts(walk.run)] == [
        Outcome.LOST,
        Outcome.SUCCEEDED,
    ]


def test_an_attempt_over_its_time_that_ends_after_all_changes_nothing(factory: SmallFactory):
    walk = factory.start(steps(f"a: {THRICE}", "b: needs: [a]"))
    late = factory.begin(walk, "a")
    assert isinstance(fail_attempt(factory.engine, walk, late, busy()), AnotherAttempt)
    factory.on["a"] = gives(by="attempt 2")
    assert factory.finish(walk, "a") == SUCCEEDED
    factory.on["a"] = gives(by="attempt 1")
    with pytest.raises(StaleVersionError):
        publish_attempt(factory.engine, walk, late, None)
    assert walk.outputs["a"] == {"by": "attempt 2"}
    assert factory.drive(walk).status is RunStatus.SUCCEEDED


def test_a_job_that_has_ended_is_answered_not_run(factory: SmallFactory):
    walk = factory.start(steps("a:", "b:"))
    factory.finish(walk, "a")
    factory.on["a"] = fails(AssertionError("it ran again"))
    assert factory.attempt(walk, "a") == SUCCEEDED
    assert len(factory.attempts(walk.run)) == 1


# --- the last one closes the run


@pytest.mark.parametrize("bad", [False, True])
def test_of_two_last_jobs_exactly_one_closes_the_run(factory: SmallFactory, bad: bool):
    walk = factory.start(steps("a:", "b:"))
    together = Barrier(2)

    def meet(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        together.wait(10)
        if bad and context.facts.step == "b":
            raise ValueError("no")
        return JobResult()

    factory.on["a"] = factory.on["b"] = meet
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(factory.finish, walk), ["a", "b"]))
    run = walk.run
    status = "Failed" if bad else "Succeeded"
    assert run == factory.run(run) == walk.run
    assert factory.moves(run).count(status) == 1
    assert factory.moves(run)[-1] == status
    left = {m.topic for m in factory.messages() if m.key == f"{run.id}:0"}
    assert left == {"memory.run", "prefect.show-run", *(() if bad else ("memory.code",))}


def test_a_job_that_ends_while_another_is_being_closed_waits_to_see_it_closed(
    factory: SmallFactory,
):
    walk = factory.start(steps("a:", "b:"))
    committed, other_done = Event(), Event()

    class SlowToLearn(dict[str, Ending]):
        def __setitem__(self, name: str, ending: Ending) -> None:
            if name == "a":
                committed.set()
                other_done.wait(0.2)  # in vain: the other one has to wait for this
            super().__setitem__(name, ending)

    def finish_b() -> None:
        committed.wait(10)
        factory.finish(walk, "b")
        other_done.set()

    walk.endings = SlowToLearn()
    with ThreadPoolExecutor(2) as pool:
        for task in (pool.submit(factory.finish, walk, "a"), pool.submit(finish_b)):
            task.result(10)
    assert factory.run(walk.run).status is RunStatus.SUCCEEDED


def test_the_last_jobs_end_and_the_runs_are_one_transaction(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    walk = factory.start(steps("a:"))
    begun = factory.begin(walk, "a")
    hasty = replace(factory.engine, lease=timedelta(0))
    with monkeypatch.context() as patch:
        # The run cannot be closed: then the job has not ended either.
        patch.setattr(
            "factory_runtime.services.end_run.leave_endings",
            raises(StoreUnavailableError("the database went away")),
        )
        with pytest.raises(StoreUnavailableError):
            publish_attempt(hasty, walk, begun, None)
    assert factory.jobs(walk.run)["a"].status is JobStatus.RUNNING
    assert factory.run(walk.run).status is RunStatus.RUNNING
    assert publish_attempt(factory.engine, walk, begun, None) == SUCCEEDED
    assert factory.run(walk.run).status is RunStatus.SUCCEEDED


def test_a_run_keeps_what_others_wrote_while_it_was_walked(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    with factory.store.begin(TENANT) as tx:
        run = tx.lock_run(walk.run.id)
        tx.save_run(run, run.changed(NOON, cancel_requested_at=NOON))
    run = factory.drive(walk)
    assert (run.status, run.cancel_requested_at) == (RunStatus.SUCCEEDED, NOON)


def test_a_runs_outputs_are_worked_out_when_it_ends(factory: SmallFactory):
    factory.on["a"] = gives(url="memory://orders")
    text = (
        steps("a:")
        + "outputs: {where: 'at ${{ steps.a.outputs.url }}', who: '${{ run.requested_by }}'}"
    )
    run = factory.complete(text)
    assert from_body(factory.storage, TENANT, run.outputs) == {
        "where": "at memory://orders",
        "who": "ada",
    }


def test_outputs_that_cannot_be_worked_out_fail_the_run_with_the_reason(factory: SmallFactory):
    run = factory.complete(steps("a:") + "outputs: {where: '${{ steps.a.outputs.url }}'}")
    assert run.status is RunStatus.FAILED
    assert "steps.a.outputs.url" in str(run.error)
    assert factory.jobs(run)["a"].status is JobStatus.SUCCEEDED
    assert len(factory.messages("memory.run")) == 1


def test_a_failed_run_does_not_work_out_its_outputs(factory: SmallFactory):
    factory.on["a"] = fails(ValueError("no"))
    run = factory.complete(steps("a:") + "outputs: {where: '${{ steps.a.outputs.url }}'}")
    assert (run.status, run.error, run.outputs) == (RunStatus.FAILED, "failed: a", None)


def test_a_run_without_jobs_succeeds(factory: SmallFactory):
    text = """
    inputs: {type: object, properties: {names: {type: array, items: {type: string}, default: []}}}
    steps: [{name: make-it, type: act, each: "${{ inputs.names }}"}]
    outputs: {made: "${{ steps.make_it.outputs }}"}
    """
    run = factory.complete(text)
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    assert from_body(factory.storage, TENANT, run.outputs) == {"made": {}}


def test_no_record_of_one_tenant_is_another_tenants(factory: SmallFactory):
    run = factory.complete(steps("a:"))
    with factory.store.begin("other", read_only=True) as tx:
        assert tx.list_jobs(run.id) == ()
        assert tx.list_attempts(run.id) == ()
        assert tx.list_events(run.id) == ()
        assert tx.list_runs(RunFilter()).items == ()
