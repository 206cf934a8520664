"""The sweep: what killed processes left gets a slot again, goes back to Pending, or ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    CorruptStoreError,
    PrefectUnavailableError,
    StoreUnavailableError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.result import WaitUntil
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.services.end_run import cancel_run, end_run
from factory_runtime.services.engine import LEASE, keep_walking
from factory_runtime.services.pause_run import pause_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.routed_job import sweep_routed
from factory_runtime.services.sweep import Swept, sweep, sweep_prefect
from factory_runtime.services.take_back import LOSSES
from tests.builders import TENANT, after
from tests.routed import Routed
from tests.small_factory import FlowRuns, SmallFactory, steps

CHAIN = steps("a:", "b: needs: [a]")


def swept(factory: SmallFactory) -> Swept:
    return sweep(factory.store, factory.clock)


def overdue(factory: SmallFactory, status: RunStatus) -> Run:
    """A run in this status, with nobody at it, whose deadline has passed."""
    factory.template(CHAIN)
    run = factory.request(deadline=timedelta(hours=1))
    if status is RunStatus.QUEUED:
        factory.admit(run)
    if status in (RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED):
        walk = factory.take_up(run)
        factory.begin(walk, "a")
        if status is RunStatus.PAUSED:
            pause_run(factory.store, factory.clock, TENANT, run.id, "ada")
        if status is not RunStatus.RUNNING:
            put_down(factory.engine, walk, status, after(9999))
    assert factory.run(run).status is status
    factory.clock.at = after(3600)
    return run


OPEN = [
    RunStatus.VALIDATED, RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED,
]  # fmt: skip


@pytest.mark.parametrize("status", OPEN)
def test_a_run_past_its_deadline_is_cancelled_wherever_it_is(
    factory: SmallFactory, status: RunStatus
):
    run = overdue(factory, status)
    assert swept(factory) == Swept(cancelled=1)
    ended = factory.run(run)
    assert (ended.status, ended.error) == (RunStatus.CANCELLED, "cancelled by its deadline")
    assert {job.status for job in factory.jobs(run).values()} == {JobStatus.CANCELLED}
    assert all(attempt.outcome is not None for attempt in factory.attempts(run))
    assert swept(factory) == Swept()


def test_a_run_with_time_left_is_let_be(factory: SmallFactory):
    factory.template(CHAIN)
    run = factory.request(deadline=timedelta(hours=1))
    factory.clock.at = after(3599)
    assert swept(factory) == Swept()
    assert factory.run(run) == run


def test_a_run_past_its_deadline_is_left_to_the_process_that_executes_it(factory: SmallFactory):
    run = overdue(factory, RunStatus.VALIDATED)
    factory.take_up(run)
    assert swept(factory) == Swept()
    assert factory.run(run).status is RunStatus.RUNNING


def test_a_run_asked_to_stop_whose_process_died_is_cancelled_by_who_asked(factory: SmallFactory):
    walk = factory.start(CHAIN)
    factory.begin(walk, "a")
    cancel_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    assert swept(factory) == Swept()  # its process is there to obey
    factory.clock.pass_time(LEASE)
    assert swept(factory) == Swept(cancelled=1)
    run = factory.run(walk.run)
    assert (run.status, run.error) == (RunStatus.CANCELLED, "cancelled by ada")
    assert [attempt.outcome for attempt in factory.attempts(run)] == [Outcome.CANCELLED]


def test_a_run_asked_to_stop_that_was_put_down_is_cancelled(factory: SmallFactory):
    walk = factory.start(CHAIN)
    cancel_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    put_down(factory.engine, walk)
    assert swept(factory) == Swept(cancelled=1)


@pytest.mark.parametrize("begun", [True, False])
def test_a_run_whose_process_is_gone_loses_its_slot_and_its_jobs_under_way(
    factory: SmallFactory, begun: bool
):
    walk = factory.start(CHAIN)
    if begun:
        factory.begin(walk, "a")
    factory.clock.pass_time(LEASE)
    assert swept(factory) == Swept(left=1)
    run, job = factory.run(walk.run), factory.jobs(walk.run)["a"]
    assert (run.status, run.admitted_at) == (RunStatus.RUNNING, None)
    assert (job.status, job.lease_owner, job.losses) == (JobStatus.PENDING, None, int(begun))
    assert swept(factory) == Swept()
    assert factory.drive(factory.take_up(run)).status is RunStatus.SUCCEEDED


def test_a_run_asked_to_pause_whose_process_is_gone_is_paused(factory: SmallFactory):
    walk = factory.start(CHAIN)
    factory.begin(walk, "a")
    pause_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    factory.clock.pass_time(LEASE)
    assert swept(factory) == Swept(left=1)
    run = factory.run(walk.run)
    assert (run.status, run.admitted_at) == (RunStatus.PAUSED, None)
    assert factory.jobs(run)["a"].status is JobStatus.PENDING
    assert [m.payload["run_id"] for m in factory.messages("prefect.show-status")] == [run.id]


def test_a_process_known_to_be_dead_is_not_waited_for(factory: SmallFactory, dead: str):
    factory.template(CHAIN)
    engine = factory.engine_of(dead)
    walk = factory.take_up(factory.request(), engine=engine)
    factory.begin(walk, "a", engine)
    assert swept(factory) == Swept(left=1)


def test_a_job_that_kills_its_worker_ends_by_sweeps_alone(factory: SmallFactory):
    walk = factory.start(CHAIN)
    for _ in range(LOSSES):
        factory.begin(walk, "a")
        factory.clock.pass_time(LEASE)
        assert swept(factory) == Swept(left=1)
        walk = factory.take_up(walk.run)
    assert factory.jobs(walk.run)["a"].status is JobStatus.FAILED
    assert factory.drive(walk).status is RunStatus.FAILED


def test_runs_and_jobs_that_wait_are_not_looked_at(factory: SmallFactory):
    factory.on["a"] = lambda _context, _with: WaitUntil(after(10_000), "a pipeline")
    walk = factory.start(CHAIN)
    factory.attempt(walk, "a")
    assert keep_walking(factory.engine, walk)
    put_down(factory.engine, walk, RunStatus.WAITING, after(10_000))
    for seconds in (0, 61, 9999, 20_000):
        factory.clock.at = after(seconds)
        assert swept(factory) == Swept()
    job = factory.jobs(walk.run)["a"]
    assert (job.status, job.losses, job.attempt) == (JobStatus.WAITING, 0, 1)


def test_a_job_that_waits_in_a_run_whose_process_is_gone_goes_on_waiting(factory: SmallFactory):
    factory.on["a"] = lambda _context, _with: WaitUntil(after(10_000), "a pipeline")
    walk = factory.start(steps("a:", "b:"))
    factory.attempt(walk, "a")
    factory.begin(walk, "b")
    factory.clock.pass_time(LEASE)
    assert swept(factory) == Swept(left=1)
    jobs = factory.jobs(walk.run)
    assert (jobs["a"].status, jobs["a"].not_before) == (JobStatus.WAITING, after(10_000))
    assert jobs["b"].status is JobStatus.PENDING


def test_finished_runs_are_not_touched(factory: SmallFactory):
    run = factory.complete(CHAIN)
    factory.clock.pass_time(timedelta(days=1))
    assert swept(factory) == Swept()
    assert factory.run(run) == run


def test_sweeps_of_all_tenants_at_once_repair_each_thing_once(factory: SmallFactory):
    factory.template(CHAIN)
    walks = [factory.take_up(factory.request(tenant_id=t), f"f-{t}") for t in ("acme", "other")]
    for walk in walks:
        factory.begin(walk, "a")
    late = factory.request(deadline=timedelta(seconds=1))
    factory.clock.pass_time(LEASE)
    together = Barrier(3)

    def one(_: int) -> Swept:
        together.wait()
        return swept(factory)

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(one, range(3)))
    assert sum(s.left for s in done) == 2
    assert sum(s.cancelled for s in done) >= 1  # who came second found it cancelled
    for walk in walks:
        assert factory.jobs(walk.run)["a"].losses == 1
        assert factory.moves(walk.run, "a") == ["Running", "Pending"]
    assert factory.moves(late).count("Cancelled") == 1


def _take_up(factory: SmallFactory, run: Run) -> None:
    factory.take_up(run)


def _cancel(factory: SmallFactory, run: Run) -> None:
    cancel_run(factory.store, factory.clock, TENANT, run.id, "ada")


@pytest.mark.parametrize("meanwhile", [_take_up, _cancel])
def test_a_run_that_somebody_was_quicker_with_is_left_alone(
    factory: SmallFactory, meanwhile: Callable[[SmallFactory, Run], None]
):
    walk = factory.start(CHAIN)
    factory.begin(walk, "a")
    put_down(factory.engine, walk)
    meanwhile(factory, walk.run)
    run = factory.run(walk.run)
    assert swept(factory) == Swept()
    assert factory.run(run) == run


# --- what somebody did in Prefect


def test_a_run_whose_flow_run_was_cancelled_in_prefect_is_asked_to_stop(factory: SmallFactory):
    prefect = FlowRuns()
    walk = factory.start(CHAIN)
    prefect.cancelled.add("flow-1")
    assert sweep_prefect(factory.store, factory.clock, prefect) == 1
    run = factory.run(walk.run)
    assert run.cancel_requested_at == factory.clock.now()
    assert "Prefect" in str(run.error)
    assert sweep_prefect(factory.store, factory.clock, prefect) == 0


def test_a_run_that_nobody_executes_is_cancelled_at_once_for_prefect(factory: SmallFactory):
    prefect = FlowRuns()
    factory.template(CHAIN)
    run = factory.request(flow_run_id="flow-9")
    other = factory.request(tenant_id="other", flow_run_id="flow-8")
    prefect.cancelled.add("flow-9")
    assert sweep_prefect(factory.store, factory.clock, prefect) == 1
    assert factory.run(run).status is RunStatus.CANCELLED
    assert factory.run(other) == other


def test_while_prefect_is_away_its_sweep_says_so(factory: SmallFactory):
    prefect = FlowRuns()
    factory.start(CHAIN)
    prefect.away = True
    with pytest.raises(PrefectUnavailableError):
        sweep_prefect(factory.store, factory.clock, prefect)


def test_a_run_that_cannot_be_read_does_not_keep_the_sweep_from_the_others(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    factory.template(CHAIN)
    broken, other = (factory.request(deadline=timedelta(hours=1)) for _ in range(2))
    factory.clock.at = after(3600)
    get_run = SqlTransaction.get_run

    def is_damaged(tx: SqlTransaction, run_id: str) -> Run:
        if run_id == broken.id:
            raise CorruptStoreError("its row is damaged")
        return get_run(tx, run_id)

    monkeypatch.setattr(SqlTransaction, "get_run", is_damaged)
    assert swept(factory).cancelled == 1
    assert factory.run(other).status is RunStatus.CANCELLED
    assert broken.id in caplog.text


def test_a_run_that_the_store_is_too_busy_for_does_not_keep_the_sweep_from_the_others(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    factory.template(steps("a: with: {}"))
    runs = [factory.request(deadline=timedelta(minutes=1)) for _ in range(3)]
    factory.clock.pass_time(timedelta(hours=1))
    busy = {runs[1].id}

    def end(*arguments: Any) -> Run:
        if arguments[3] in busy:
            raise StoreUnavailableError("deadlock detected")
        return end_run(*arguments)

    monkeypatch.setattr("factory_runtime.services.sweep.end_run", end)
    assert sweep(factory.store, factory.clock).cancelled == 2
    busy = {run.id for run in runs}
    again = [factory.request(deadline=timedelta(minutes=1)) for _ in range(2)]
    busy |= {run.id for run in again}
    factory.clock.pass_time(timedelta(hours=1))
    with pytest.raises(StoreUnavailableError):
        sweep(factory.store, factory.clock)  # two in a row: it is away for all of them


def test_a_job_that_cannot_be_read_does_not_keep_the_sweep_from_the_others(
    factory: SmallFactory, caplog: pytest.LogCaptureFixture
):
    routed = Routed(factory)
    factory.template(steps("ship:"))
    runs = [factory.request(tenant_id=tenant) for tenant in ("acme", "umbrella")]
    for run in runs:
        routed.send(factory.take_up(run, f"flow-of-{run.id}", routed.engine), "ship")
        routed.deliver(run, "ship")
    broken, other = runs
    store = factory.store
    assert isinstance(store, InMemoryRunStore)
    with store.engine.begin() as connection:
        damaged = text("UPDATE jobs SET needs = '{' WHERE run_id = :run_id")
        connection.execute(damaged, {"run_id": broken.id})
    assert sweep_routed(store, factory.clock, FlowRuns()) == 0
    assert routed.job(other, "ship").losses == 1
    assert broken.id in caplog.text


def test_a_run_whose_row_is_damaged_does_not_keep_prefects_cancels_from_the_others(
    factory: SmallFactory, caplog: pytest.LogCaptureFixture
):
    factory.template(CHAIN)
    broken = factory.request(tenant_id="acme", flow_run_id="flow-8")
    other = factory.request(tenant_id="umbrella", flow_run_id="flow-9")
    prefect = FlowRuns()
    prefect.cancelled |= {"flow-8", "flow-9"}
    store = factory.store
    assert isinstance(store, InMemoryRunStore)
    with store.engine.begin() as connection:
        damaged = text("UPDATE runs SET metadata = '{' WHERE id = :id")
        connection.execute(damaged, {"id": broken.id})
    assert sweep_prefect(store, factory.clock, prefect) == 1
    assert factory.run(other).status is RunStatus.CANCELLED
    assert broken.id in caplog.text
