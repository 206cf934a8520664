"""One attempt of one job: what it claims, what it records, and what follows when it fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier, Event
from typing import Any

import pytest

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import INLINE_LIMIT
from factory_runtime.domain.errors import (
    CancelledError,
    ConflictError,
    DuplicateAttemptError,
    HostRejectedError,
    StaleVersionError,
    StorageFullError,
    StoreUnavailableError,
)
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult, RenderOrder
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.tree import TreeReference
from factory_runtime.ports import FileTree, JobContext, RunFilter
from factory_runtime.services.bodies import from_body
from factory_runtime.services.engine import Walk
from factory_runtime.services.run_attempt import (
    AnotherAttempt,
    begin_attempt,
    fail_attempt,
    publish_attempt,
)
from tests.builders import NOON, TENANT, after, an_attempt
from tests.small_factory import Act, SmallFactory, busy, fails, gives, steps

THRICE = "retry: {max_attempts: 3, delays: [1s, 5s], jitter: 0}"
ENDED = Ending(JobStatus.SUCCEEDED)
FAILED = Ending(JobStatus.FAILED)


def raises(error: Exception) -> Any:
    """What a test puts in the place of something that breaks."""

    def broken(*_arguments: Any) -> Any:
        raise error

    return broken


def trace_of(factory: SmallFactory, run: Run, step: str, number: int = 1) -> str:
    attempt = factory.attempts(run, step)[number - 1]
    return str(from_body(factory.storage, TENANT, attempt.traceback))


def detail(factory: SmallFactory, run: Run, step: str, status: JobStatus) -> Mapping[str, Any]:
    (event,) = (
        e for e in factory.events(run, "job") if e.step == step and e.to_status == status.value
    )
    return event.detail


# --- the happy path


def test_a_claim_opens_the_attempt_and_leases_the_job(factory: SmallFactory):
    walk = factory.start(steps("a: with: {text: hi}"))
    begun = factory.begin(walk, "a")
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert job == begun.job == walk.jobs["a"]
    assert (job.status, job.attempt, job.fencing_token) == (JobStatus.RUNNING, 1, 1)
    assert (job.lease_owner, job.lease_expires_at) == (
        factory.engine.worker,
        NOON + factory.engine.lease,
    )
    assert job.started_at == job.last_attempt_at == NOON
    assert attempt == begun.attempt
    assert attempt.key == f"{walk.run.id}:a:1"
    assert (attempt.worker, attempt.environment) == (factory.engine.worker, "tests")
    assert (attempt.outcome, attempt.completed_at) == (None, None)
    assert attempt.span_id == job.span_id
    assert begun.with_ == {"text": "hi"}
    assert detail(factory, walk.run, "a", JobStatus.RUNNING) == {"attempt": 1}


def test_a_success_records_job_attempt_and_event(factory: SmallFactory):
    walk = factory.start(steps("a:", "b:"))
    factory.on["a"] = gives(url="u", count=3)
    begun = factory.begin(walk, "a")
    begun.cached = True
    begun.peak_memory_bytes = 4096
    factory.clock.pass_time(timedelta(seconds=2.5))
    assert publish_attempt(factory.engine, walk, begun, None) == ENDED
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert job.status is JobStatus.SUCCEEDED
    assert (job.completed_at, job.cached, job.error) == (after(2.5), True, None)
    assert (job.lease_owner, job.lease_expires_at) == (None, None)
    assert from_body(factory.storage, TENANT, job.outputs) == {"url": "u", "count": 3}
    assert (attempt.outcome, attempt.completed_at) == (Outcome.SUCCEEDED, after(2.5))
    assert (attempt.cached, attempt.peak_memory_bytes) == (True, 4096)
    assert attempt.cpu_seconds is not None
    assert detail(factory, walk.run, "a", JobStatus.SUCCEEDED) == {
        "attempt": 1,
        "seconds": 2.5,
        "cached": True,
    }
    assert factory.run(walk.run).status is RunStatus.RUNNING


def test_a_success_records_artifacts_effects_and_log_lines(factory: SmallFactory):
    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        assert context.intend("repository", "repository shop/orders") is None
        context.log("made it")
        draft = ArtifactDraft(ArtifactKind.REPOSITORY, "orders", "memory://orders", "text/x-git")
        return JobResult(artifacts=(draft,), effects=(ConfirmedEffect("repository", "r-1"),))

    factory.on["a"] = publish
    run = factory.complete(steps("a:"))
    with factory.store.begin(TENANT, read_only=True) as tx:
        (artifact,) = tx.list_artifacts(run_id=run.id)
        (effect,) = tx.list_effects(run_id=run.id)
    assert (artifact.name, artifact.creator) == ("orders", f"{run.id}:a:1")
    assert (artifact.project_id, artifact.created_at) == (run.project_id, NOON)
    assert (effect.status, effect.reference) == (EffectStatus.CONFIRMED, "r-1")
    (line,) = factory.events(run, "log")
    assert (line.step, dict(line.detail)) == ("a", {"message": "made it", "attempt": 1})


def test_a_job_type_learns_who_it_works_for(factory: SmallFactory):
    seen: list[Any] = []

    def publish(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        seen.append((context.facts, context.now(), context.host, context.storage))
        return JobResult()

    factory.on["c"] = publish
    walk = factory.start(steps("a:", "b: needs: [a]", "c: needs: [b]", "d:"), module_id="m-1")
    factory.drive(walk)
    ((facts, now, host, storage),) = seen
    assert (facts.effect_key, facts.attempt) == (f"{walk.run.id}:c", 1)
    assert (facts.tenant_id, facts.project_id, facts.module_id) == (TENANT, "shop", "m-1")
    assert (facts.template_id, facts.template_version, facts.requested_by) == (
        "demo",
        "1.0.0",
        "ada",
    )
    assert facts.follows == {"a", "b"}
    assert (now, host, storage) == (NOON, factory.host, factory.storage)


def test_outputs_larger_than_a_row_go_to_storage_and_later_steps_read_them(factory: SmallFactory):
    factory.on["big"] = gives(text="x" * INLINE_LIMIT, tail="end")
    walk = factory.start(
        steps("big:", "b: needs: [big], with: {text: '${{ steps.big.outputs.tail }}'}")
    )
    assert factory.finish(walk, "big") == ENDED
    stored = factory.jobs(walk.run)["big"].outputs
    assert stored is not None
    assert stored.reference is not None
    resumed = factory.take_up(walk.run)
    assert factory.begin(resumed, "b").with_ == {"text": "end"}


def test_external_ids_land_on_the_job_and_on_the_run(factory: SmallFactory):
    ids = {"repo_id": "r-1", "build_id": "b-2", "pipeline_id": "p-3", "work_item_id": "w-4"}
    factory.on["a"] = lambda _context, _with: JobResult(external_ids=ids)
    factory.on["b"] = lambda _context, _with: JobResult(external_ids={"build_id": "b-9"})
    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.finish(walk, "a")
    for record in (factory.jobs(walk.run)["a"], factory.run(walk.run), walk.run):
        assert {name: getattr(record, name) for name in ids} == ids
    run = factory.drive(walk)
    assert (run.status, run.build_id, run.repo_id) == (RunStatus.SUCCEEDED, "b-9", "r-1")


def test_an_external_id_that_no_record_has_fails_the_job(factory: SmallFactory):
    factory.on["a"] = lambda _context, _with: JobResult(external_ids={"colour": "red"})
    run = factory.complete(steps("a:"))
    assert run.status is RunStatus.FAILED
    assert "colour" in str(factory.jobs(run)["a"].error)


def test_a_job_with_sources_says_what_it_wants_rendered(factory: SmallFactory):
    walk = factory.start(
        "steps: [{name: a, type: paint, with: {source: files, data: {name: '${{ run.id }}'}}}]"
    )
    order = factory.begin(walk, "a").order
    assert order is not None
    (layer,) = order.layers
    assert (layer.source, layer.data) == ("files", {"name": walk.run.id})
    assert layer.source in walk.plan.sources


# --- conditions


@pytest.mark.parametrize(
    ("when", "runs"),
    [("${{ inputs.go }}", False), ("${{ not inputs.go }}", True),
     ("${{ steps.a.outputs.n > 2 }}", True), ("${{ steps.a.outputs.n > 3 }}", False),
     ("${{ run.project == 'shop' }}", True), ("${{ run.module }}", False)],
)  # fmt: skip
def test_a_condition_decides_whether_a_job_runs(factory: SmallFactory, when: str, runs: bool):
    head = "inputs: {type: object, properties: {go: {type: boolean, default: false}}}\n"
    factory.on["a"] = gives(n=3)
    text = head + steps("a:", f'b: needs: [a], when: "{when}"', "c: needs: [b]")
    run = factory.complete(text)
    jobs = factory.jobs(run)
    assert jobs["b"].status is (JobStatus.SUCCEEDED if runs else JobStatus.SKIPPED)
    assert jobs["b"].skip_reason is (None if runs else SkipReason.CONDITION)
    assert jobs["c"].status is JobStatus.SUCCEEDED
    assert run.status is RunStatus.SUCCEEDED
    if not runs:
        assert factory.attempts(run, "b") == ()
        assert detail(factory, run, "b", JobStatus.SKIPPED) == {"reason": "condition"}


def test_a_condition_that_cannot_be_worked_out_fails_its_job(factory: SmallFactory):
    run = factory.complete(steps("a:", "b: needs: [a], when: '${{ steps.a.outputs.missing }}'"))
    job, (attempt,) = factory.jobs(run)["b"], factory.attempts(run, "b")
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert "steps.a.outputs.missing" in str(job.error)
    assert (attempt.outcome, attempt.error_code) == (Outcome.PERMANENT, "expression")


def test_a_value_that_turns_out_wrong_fails_its_job_with_every_problem(factory: SmallFactory):
    factory.on["a"] = gives(n="three", t=4)
    run = factory.complete(
        steps(
            "a:",
            "b: needs: [a], with: {number: '${{ steps.a.outputs.n }}',"
            " text: '${{ steps.a.outputs.t }}'}",
        )
    )
    job, (attempt,) = factory.jobs(run)["b"], factory.attempts(run, "b")
    assert (run.status, job.status, job.attempt) == (RunStatus.FAILED, JobStatus.FAILED, 1)
    for part in ("number", "three", "text", "4"):
        assert part in str(job.error)
    assert attempt.error_code == "invalid-inputs"


def test_what_an_output_holds_is_never_read_as_an_expression(factory: SmallFactory):
    factory.on["a"] = gives(t="${{ run.id }}")
    walk = factory.start(steps("a:", "b: needs: [a], with: {text: '${{ steps.a.outputs.t }}'}"))
    factory.finish(walk, "a")
    assert factory.begin(walk, "b").with_ == {"text": "${{ run.id }}"}


def test_a_job_type_that_raises_while_it_plans_its_render_fails_its_job(factory: SmallFactory):
    class Broken(Act):
        def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
            raise RuntimeError("no render today")

    factory.job_types["act"] = Broken({})
    run = factory.complete(steps("a:"))
    assert factory.jobs(run)["a"].error == "RuntimeError: no render today"


def test_a_job_type_that_is_gone_since_the_plan_was_made_fails_its_job(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    del factory.job_types["act"]
    run = factory.drive(walk)
    assert run.status is RunStatus.FAILED
    assert "act" in str(factory.jobs(run)["a"].error)


# --- failing


def test_a_transient_error_allows_another_attempt_later(factory: SmallFactory):
    factory.on["a"] = fails(busy(), times=1)
    walk = factory.start(steps(f"a: {THRICE}"))
    again = factory.attempt(walk, "a")
    assert again == AnotherAttempt(after(1), "the host is busy\nwait")
    job, (attempt,) = factory.jobs(walk.run)["a"], factory.attempts(walk.run)
    assert job == walk.jobs["a"]
    assert (job.status, job.attempt, job.not_before) == (JobStatus.PENDING, 1, after(1))
    assert (job.lease_owner, job.lease_expires_at) == (None, None)
    assert job.error == "the host is busy\nwait"
    assert (attempt.outcome, attempt.error_code) == (Outcome.TRANSIENT, "transient")
    assert "busy" in trace_of(factory, walk.run, "a")
    assert detail(factory, walk.run, "a", JobStatus.PENDING)["reason"] == job.error
    assert factory.attempt(walk, "a") == ENDED
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
    assert again == ENDED


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
    assert detail(factory, run, "a", JobStatus.FAILED)["reason"] == job.error


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
            "factory_runtime.services.run_attempt.close_run_if_last",
            raises(StoreUnavailableError("the database went away")),
        )
        with pytest.raises(StoreUnavailableError):
            publish_attempt(factory.engine, walk, begun, None)
    assert walk.outputs == {}
    assert walk.endings == {}
    error = StoreUnavailableError("the database went away")
    assert isinstance(fail_attempt(factory.engine, walk, begun, error), AnotherAttempt)
    assert [event.detail["attempt"] for event in factory.events(walk.run, "log")] == [1]
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert [event.detail["attempt"] for event in factory.events(walk.run, "log")] == [1, 2]


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


# --- others at the same job


def test_an_attempt_that_stands_already_is_not_begun_again(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    with factory.store.begin(TENANT) as tx:
        tx.add_attempt(an_attempt(walk.jobs["a"], 1))
    with pytest.raises(DuplicateAttemptError):
        begin_attempt(factory.engine, walk, "a")
    assert factory.jobs(walk.run)["a"].status is JobStatus.PENDING


def test_a_job_that_two_executors_claim_is_claimed_by_one(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    other = factory.take_up(walk.run)
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
    other = factory.take_up(walk.run)
    factory.on["a"] = gives(by="the other")
    assert factory.finish(other, "a") == ENDED
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
    assert factory.finish(walk, "a") == ENDED
    factory.on["a"] = gives(by="attempt 1")
    with pytest.raises(StaleVersionError):
        publish_attempt(factory.engine, walk, late, None)
    assert walk.outputs["a"] == {"by": "attempt 2"}
    assert factory.drive(walk).status is RunStatus.SUCCEEDED


def test_a_job_that_has_ended_is_answered_not_run(factory: SmallFactory):
    walk = factory.start(steps("a:", "b:"))
    factory.finish(walk, "a")
    factory.on["a"] = fails(AssertionError("it ran again"))
    assert factory.attempt(walk, "a") == ENDED
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
    assert sorted(m.topic for m in factory.messages() if m.key == f"{run.id}:0") == [
        "memory.run",
        "prefect.show-run",
    ]


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
    with monkeypatch.context() as patch:
        # The run cannot be closed: then the job has not ended either.
        patch.setattr(
            "factory_runtime.services.end_run._leave_messages",
            raises(StoreUnavailableError("the database went away")),
        )
        with pytest.raises(StoreUnavailableError):
            publish_attempt(factory.engine, walk, begun, None)
    assert factory.jobs(walk.run)["a"].status is JobStatus.RUNNING
    assert factory.run(walk.run).status is RunStatus.RUNNING
    assert publish_attempt(factory.engine, walk, begun, None) == ENDED
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


def test_a_tree_is_read_as_often_as_a_job_type_likes(factory: SmallFactory):
    names: list[list[str]] = []

    class Reader(Act):
        def publish(
            self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
        ) -> JobResult:
            assert tree is not None
            names.extend([file.path for file in tree.files()] for _ in range(2))
            return JobResult()

    factory.job_types["act"] = Reader({})
    walk = factory.start(
        "steps: [{name: a, type: act}, {name: b, type: paint, with: {source: files}}]"
    )
    digest = walk.plan.sources["files"]
    reference = TreeReference(digest, len(factory.storage.bodies[TENANT, digest]), 1)
    publish_attempt(factory.engine, walk, factory.begin(walk, "a"), reference)
    assert names == [["readme.txt"]] * 2
