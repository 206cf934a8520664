"""Sending a failed run round again, whole or from one job."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    IllegalTransitionError,
    InputError,
    InvalidInputsError,
    JobNotFoundError,
    RunNotFoundError,
)
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext, RunKey, RunStore
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.bodies import from_body
from factory_runtime.services.end_run import end_run
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.retry_run import retry_job, retry_run
from factory_runtime.services.topics import MEMORY_OF_RUN, SHOW_STATUS
from tests.builders import NOON, TENANT, a_job, a_run, after
from tests.small_factory import THRICE, SmallFactory, busy, fails, gives, steps

NO = ValueError("no")


def run_through(factory: SmallFactory, run: Run) -> Run:
    """Walk a run from where it stands to its end."""
    walk = factory.take_up(run)
    ended = factory.drive(walk)
    stop_walking(factory.engine, walk)
    return ended


def ended_run(factory: SmallFactory, text: str, **values: Any) -> Run:
    factory.template(text)
    return run_through(factory, factory.request(**values))


def again(factory: SmallFactory, run: Run, step: str | None = None, by: str = "ada") -> Run:
    if step is None:
        return retry_run(factory.store, factory.clock, run.tenant_id, run.id, by)
    return retry_job(factory.store, factory.clock, run.tenant_id, run.id, step, by)


def statuses(factory: SmallFactory, run: Run) -> dict[str, str]:
    """Of each job: its status, or why it was skipped."""
    return {name: job.skip_reason or job.status for name, job in factory.jobs(run).items()}


def mend(factory: SmallFactory, *names: str) -> None:
    for name in names:
        del factory.on[name]


# --- the whole run


def test_a_retried_run_goes_on_from_what_failed(factory: SmallFactory):
    factory.on |= {"a": gives(by="cycle 0"), "b": fails(NO)}
    run = ended_run(factory, steps("a:", "b: needs: [a]", "c: needs: [b]", "d: needs: [c]"))
    assert statuses(factory, run) == {
        "a": "Succeeded",
        "b": "Failed",
        "c": "need-failed",
        "d": "need-failed",
    }
    before = factory.jobs(run)["a"]
    factory.on["a"] = fails(AssertionError("it ran again"))
    mend(factory, "b")
    queued = again(factory, run)
    assert queued == factory.run(run)
    assert statuses(factory, run) == {"a": "Succeeded", **dict.fromkeys("bcd", "Pending")}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert set(statuses(factory, run).values()) == {"Succeeded"}
    assert factory.jobs(run)["a"] == before
    assert from_body(factory.storage, TENANT, before.outputs) == {"by": "cycle 0"}
    assert factory.moves(run)[-4:] == ["Failed", "Queued", "Running", "Succeeded"]


def test_a_retried_run_queues_a_cycle_further_with_nothing_left_of_its_end(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = ended_run(factory, steps("a:"))
    assert (run.completed_at, run.error) == (NOON, "failed: a")
    factory.clock.pass_time()
    queued = again(factory, run, by="bob")
    assert (queued.status, queued.cycle) == (RunStatus.QUEUED, 1)
    assert (queued.completed_at, queued.error, queued.outputs) == (None, None, None)
    assert (queued.admitted_at, queued.wake_at) == (None, None)
    assert (queued.flow_run_id, queued.started_at) == (run.flow_run_id, run.started_at)
    assert factory.store.waiting_runs(factory.clock.at) == (RunKey(TENANT, run.id),)
    moved = factory.events(run)[-2:]
    assert [(event.kind, event.to_status) for event in moved] == [
        ("job", "Pending"),
        ("run", "Queued"),
    ]
    assert [event.detail for event in moved] == [{"by": "bob", "cycle": 1}] * 2
    assert [m.key for m in factory.messages(SHOW_STATUS)][-1] == f"{run.id}:{queued.version}"


def test_requests_to_stop_do_not_outlive_the_cycle(factory: SmallFactory):
    run = a_run(
        status=RunStatus.FAILED,
        completed_at=NOON,
        plan=Body(inline={}),
        cancel_requested_at=NOON,
        pause_requested_at=NOON,
    )
    with factory.store.begin(TENANT) as tx:
        tx.add_run(run)
    queued = again(factory, run)
    assert (queued.cancel_requested_at, queued.pause_requested_at) == (None, None)


def test_a_retried_job_is_fresh_but_its_numbers_go_on(factory: SmallFactory):
    keys: list[str] = []

    def is_busy(context: JobContext, _with: Any) -> Any:
        keys.append(context.facts.effect_key)
        raise busy()

    factory.on["a"] = is_busy
    run = ended_run(factory, steps(f"a: {THRICE}"))
    failed = factory.jobs(run)["a"]
    assert (failed.attempt, failed.failures, failed.fencing_token) == (3, 3, 3)
    again(factory, run)
    fresh = factory.jobs(run)["a"]
    assert (fresh.status, fresh.failures, fresh.losses) == (JobStatus.PENDING, 0, 0)
    assert (fresh.error, fresh.completed_at, fresh.not_before) == (None, None, None)
    assert (fresh.attempt, fresh.fencing_token) == (3, 3)
    assert run_through(factory, run).status is RunStatus.FAILED
    spent = factory.jobs(run)["a"]
    assert (spent.attempt, spent.failures, spent.fencing_token) == (6, 3, 6)
    assert [attempt.number for attempt in factory.attempts(run)] == [1, 2, 3, 4, 5, 6]
    assert set(keys) == {f"{run.id}:a"}


def test_what_a_retried_job_had_reached_is_forgotten_but_for_its_checkpoint(
    factory: SmallFactory,
):
    def gives_up(context: JobContext, _with: Any) -> Any:
        context.progress(0.5, "half way")
        context.save_checkpoint({"done": 5})
        raise NO

    def goes_on(context: JobContext, _with: Any) -> Any:
        assert context.checkpoint() == {"done": 5}
        return gives(went="on")(context, _with)

    factory.on["a"] = gives_up
    run = ended_run(factory, steps("a:"))
    again(factory, run)
    fresh = factory.jobs(run)["a"]
    assert (fresh.progress, fresh.phrase) == (None, None)
    factory.on["a"] = goes_on
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


def test_each_cycle_that_ends_is_remembered(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = ended_run(factory, steps("a:"))
    again(factory, run)
    run_through(factory, run)
    assert [m.key for m in factory.messages(MEMORY_OF_RUN)] == [f"{run.id}:0", f"{run.id}:1"]


def test_a_job_that_was_skipped_for_another_reason_stays_so(factory: SmallFactory):
    factory.on["b"] = fails(NO)
    run = ended_run(factory, steps("a: when: '${{ 1 == 2 }}'", "b:"))
    mend(factory, "b")
    again(factory, run)
    assert statuses(factory, run) == {"a": "condition", "b": "Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


def test_a_run_that_somebody_failed_before_it_began_can_be_retried(factory: SmallFactory):
    factory.template(steps("a:", "b: needs: [a]"))
    run = factory.request()
    end_run(factory.store, factory.clock, TENANT, run.id, RunStatus.FAILED, "Prefect refused it")
    assert statuses(factory, run) == {"a": "need-failed", "b": "need-failed"}
    again(factory, run)
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


def test_a_run_of_which_only_the_outputs_failed_can_be_retried(factory: SmallFactory):
    run = ended_run(factory, steps("a:") + "outputs: {where: '${{ steps.a.outputs.url }}'}")
    assert run.status is RunStatus.FAILED
    again(factory, run)
    assert statuses(factory, run) == {"a": "Succeeded"}
    assert run_through(factory, run).status is RunStatus.FAILED
    assert factory.run(run).cycle == 1


# --- deadlines


def test_the_deadline_moves_by_the_length_it_had_each_time(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    hour = timedelta(hours=1)
    run = ended_run(factory, steps("a:"), deadline=hour)
    assert run.deadline_at == NOON + hour
    for day in (1, 2, 5):
        factory.clock.at = NOON + timedelta(days=day)
        assert again(factory, run).deadline_at == factory.clock.at + hour
        run_through(factory, run)


def test_a_run_without_a_deadline_gets_none(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    assert again(factory, ended_run(factory, steps("a:"))).deadline_at is None


def test_a_deadline_at_the_end_of_the_calendar_stays_there(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = ended_run(factory, steps("a:"), deadline=timedelta(days=365 * 7900))
    factory.clock.at = NOON + timedelta(days=365 * 200)
    assert again(factory, run).deadline_at == run.deadline_at


# --- what cannot be retried


@pytest.mark.parametrize("status", sorted(set(RunStatus) - {RunStatus.FAILED}))
@pytest.mark.parametrize("step", [None, "generate-repo"])
def test_only_a_failed_run_is_retried(factory: SmallFactory, status: RunStatus, step: str | None):
    run = a_run(status=status, plan=Body(inline={}))
    with factory.store.begin(TENANT) as tx:
        tx.add_run(run, [a_job(run, status=JobStatus.FAILED)])
    with pytest.raises(IllegalTransitionError, match=f"is {status} and cannot become Queued"):
        again(factory, run, step)
    assert factory.run(run) == run
    assert factory.jobs(run)["generate-repo"].status is JobStatus.FAILED


@pytest.mark.parametrize("step", [None, "a"])
def test_a_refused_run_cannot_be_retried(factory: SmallFactory, step: str | None):
    factory.template(steps("a:"))
    with pytest.raises(InvalidInputsError) as refusal:
        factory.request(inputs={"unknown": 1})
    run = factory.run(a_run(id=refusal.value.run_id))
    assert run.status is RunStatus.FAILED
    with pytest.raises(InputError, match="was refused and has nothing to retry") as refused:
        again(factory, run, step)
    assert refused.value.hint is not None
    assert factory.run(run) == run


@pytest.mark.parametrize("step", [None, "a"])
def test_another_tenants_run_is_not_there(factory: SmallFactory, step: str | None):
    factory.on["a"] = fails(NO)
    run = ended_run(factory, steps("a:"))
    with pytest.raises(RunNotFoundError):
        again(factory, a_run(id=run.id, tenant_id="other"), step)


# --- one job


def test_a_retried_job_takes_along_what_is_behind_it_and_nothing_else(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "x": fails(NO)}
    run = ended_run(
        factory, steps("a:", "b: needs: [a]", "c: needs: [b]", "x:", "y: needs: [x]", "z:")
    )
    mend(factory, "a", "x")
    again(factory, run, "a", by="bob")
    assert statuses(factory, run) == {
        **dict.fromkeys("abc", "Pending"),
        "x": "Failed",
        "y": "need-failed",
        "z": "Succeeded",
    }
    assert factory.events(run)[-1].detail == {"by": "bob", "cycle": 1, "step": "a"}
    ended = run_through(factory, run)
    assert (ended.status, ended.error) == (RunStatus.FAILED, "failed: x")
    assert statuses(factory, run)["c"] == "Succeeded"
    again(factory, run, "x")
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert factory.run(run).cycle == 2


def test_what_waits_for_another_failed_job_as_well_is_skipped_again(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "x": fails(NO)}
    run = ended_run(factory, steps("a:", "x:", "both: needs: [a, x]"))
    mend(factory, "a")
    again(factory, run, "a")
    assert statuses(factory, run)["both"] == "Pending"
    assert run_through(factory, run).status is RunStatus.FAILED
    assert statuses(factory, run) == {"a": "Succeeded", "x": "Failed", "both": "need-failed"}


def test_what_a_job_waits_for_has_to_be_retried_first(factory: SmallFactory):
    factory.on["a"] = fails(NO)
    run = ended_run(factory, steps("a:", "b: needs: [a]", "c: needs: [b]"))
    for step, need in (("b", "a"), ("c", "b")):
        with pytest.raises(ConflictError, match=f"job {step} of .* needs {need},") as refused:
            again(factory, run, step)
        assert refused.value.hint == f"retry {need} first: {step} comes along"
    assert factory.run(run) == run


def test_a_job_that_was_not_to_run_or_succeeded_is_not_retried(factory: SmallFactory):
    factory.on["c"] = fails(NO)
    run = ended_run(factory, steps("a:", "b: when: '${{ 1 == 2 }}'", "c:"))
    for step, status in (("a", "Succeeded"), ("b", "Skipped")):
        with pytest.raises(IllegalTransitionError, match=f"job {step} .* is {status} and cannot"):
            again(factory, run, step)
    assert factory.run(run) == run


@pytest.mark.parametrize("step", ["", "nobody", "a'; --", "a\x00", "ä" * 300])
def test_a_job_that_the_run_does_not_have_is_not_retried(factory: SmallFactory, step: str):
    factory.on["a"] = fails(NO)
    run = ended_run(factory, steps("a:"))
    with pytest.raises(JobNotFoundError):
        again(factory, run, step)
    assert factory.run(run) == run


# --- continue and fallbacks


def test_a_failed_job_that_the_run_went_on_without_can_be_retried_alone(factory: SmallFactory):
    factory.on |= {"docs": fails(NO), "b": fails(NO)}
    run = ended_run(factory, steps("docs: on_failure: continue", "b: needs: [docs]"))
    assert statuses(factory, run) == {"docs": "Failed", "b": "Failed"}
    mend(factory, "b")
    # It ran without its need, and may do so again.
    again(factory, run, "b")
    assert statuses(factory, run) == {"docs": "Failed", "b": "Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


SPARE = steps("a: on_failure: {fallback: spare}", "spare:", "b: needs: [a]")


def test_a_fallback_that_failed_too_is_not_needed_where_the_retry_succeeds(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "spare": fails(NO)}
    run = ended_run(factory, SPARE)
    assert statuses(factory, run) == {"a": "Failed", "spare": "Failed", "b": "need-failed"}
    mend(factory, "a")
    again(factory, run, "a")
    assert set(statuses(factory, run).values()) == {"Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {
        "a": "Succeeded",
        "spare": SkipReason.FALLBACK_NOT_NEEDED,
        "b": "Succeeded",
    }


def test_a_fallback_that_failed_can_be_retried_in_the_place_of_what_it_stands_in_for(
    factory: SmallFactory,
):
    factory.on |= {"a": fails(NO), "spare": fails(NO)}
    run = ended_run(factory, SPARE)
    mend(factory, "spare")
    again(factory, run, "spare")
    assert statuses(factory, run) == {"a": "Failed", "spare": "Pending", "b": "Pending"}
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {"a": "Failed", "spare": "Succeeded", "b": "Succeeded"}


def test_a_fallback_that_succeeded_stands_in_again_where_the_retry_fails(factory: SmallFactory):
    factory.on |= {"a": fails(NO), "b": fails(NO)}
    run = ended_run(factory, SPARE)
    assert statuses(factory, run) == {"a": "Failed", "spare": "Succeeded", "b": "Failed"}
    mend(factory, "b")
    again(factory, run)
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {"a": "Failed", "spare": "Succeeded", "b": "Succeeded"}


def test_a_fallback_that_was_not_needed_stays_so(factory: SmallFactory):
    factory.on["b"] = fails(NO)
    run = ended_run(factory, SPARE)
    mend(factory, "b")
    again(factory, run)
    assert statuses(factory, run) == {
        "a": "Succeeded",
        "spare": SkipReason.FALLBACK_NOT_NEEDED,
        "b": "Pending",
    }
    assert run_through(factory, run).status is RunStatus.SUCCEEDED


def test_a_fallback_that_was_never_reached_comes_along(factory: SmallFactory):
    factory.on["first"] = fails(NO)
    text = steps(
        "first:",
        "a: needs: [first], on_failure: {fallback: spare}",
        "spare: needs: [first]",
        "b: needs: [a]",
    )
    run = ended_run(factory, text)
    mend(factory, "first")
    factory.on["a"] = fails(NO)
    again(factory, run, "first")
    assert run_through(factory, run).status is RunStatus.SUCCEEDED
    assert statuses(factory, run) == {
        "first": "Succeeded",
        "a": "Failed",
        "spare": "Succeeded",
        "b": "Succeeded",
    }


# --- at once


def a_failed_run(store: RunStore, jobs: int = 3) -> Run:
    run = a_run(
        status=RunStatus.FAILED, completed_at=NOON, plan=Body(inline={}), deadline_at=after(60)
    )
    failed = [
        a_job(
            run,
            step=f"step-{n}",
            position=n,
            status=JobStatus.FAILED,
            attempt=1,
            completed_at=NOON,
            error="no",
        )
        for n in range(jobs)
    ]
    with store.begin(TENANT) as tx:
        tx.add_run(run, failed)
    return run


def jobs_of(store: RunStore, run: Run) -> tuple[Job, ...]:
    with store.begin(TENANT, read_only=True) as tx:
        return tx.list_jobs(run.id)


def at_once(tasks: list[Callable[[], Run]]) -> list[str]:
    together = Barrier(len(tasks))

    def do(task: Callable[[], Run]) -> str:
        together.wait(10)
        try:
            return task().status
        except FactoryError as error:
            return error.code

    with ThreadPoolExecutor(len(tasks)) as pool:
        return sorted(pool.map(do, tasks))


class NoonClock:
    def now(self) -> Any:
        return NOON


CLOCK = NoonClock()


def test_of_two_retries_at_once_exactly_one_moves_the_run(database_store: SqlRunStore):
    run = a_failed_run(database_store)
    retry = lambda: retry_run(database_store, CLOCK, TENANT, run.id, "ada")  # noqa: E731
    assert at_once([retry, retry]) == ["Queued", "illegal-transition"]
    with database_store.begin(TENANT, read_only=True) as tx:
        assert (tx.get_run(run.id).cycle, tx.get_run(run.id).version) == (1, run.version + 1)
        moved = [event for event in tx.list_events(run.id) if event.to_status == "Queued"]
    assert len(moved) == 1
    assert [job.version for job in jobs_of(database_store, run)] == [2, 2, 2]


def test_of_retries_of_two_jobs_at_once_exactly_one_moves_the_run(database_store: SqlRunStore):
    run = a_failed_run(database_store)
    tasks: list[Callable[[], Run]] = [
        lambda: retry_job(database_store, CLOCK, TENANT, run.id, "step-0", "ada"),
        lambda: retry_job(database_store, CLOCK, TENANT, run.id, "step-2", "bob"),
    ]
    assert at_once(tasks) == ["Queued", "illegal-transition"]
    pending = [job.step for job in jobs_of(database_store, run) if job.status == "Pending"]
    assert pending in (["step-0"], ["step-2"])


def test_a_retry_that_fails_half_way_changes_nothing(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    run = a_failed_run(factory.store)
    before = jobs_of(factory.store, run)

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("factory_runtime.services.retry_run.leave_status", broken)
    with pytest.raises(KeyboardInterrupt):
        again(factory, run)
    assert (factory.run(run), jobs_of(factory.store, run)) == (run, before)
