"""Sending a failed run round again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import (
    FactoryError,
    IllegalTransitionError,
    InputError,
    InvalidInputsError,
    RunNotFoundError,
)
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import JobContext, RunKey, RunStore
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.bodies import from_body
from factory_runtime.services.end_run import end_run
from factory_runtime.services.retry_run import retry_job, retry_run
from factory_runtime.services.topics import MEMORY_OF_RUN, SHOW_STATUS
from tests.builders import NOON, TENANT, a_job, a_run, after
from tests.rounds import NO, again, ended_run, mend, run_through, statuses
from tests.small_factory import THRICE, SmallFactory, busy, fails, gives, steps

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
