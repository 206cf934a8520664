"""Putting a run aside and letting it go on."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    IllegalTransitionError,
    RunNotFoundError,
)
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import RUN_ENDED, Run, RunStatus
from factory_runtime.ports import RunKey, RunStore
from factory_runtime.run_store import InMemoryRunStore, SqlRunStore
from factory_runtime.services.locks import walk_lock
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.topics import SHOW_STATUS
from tests.builders import NOON, TENANT, a_job, a_run, after, an_attempt
from tests.small_factory import SmallFactory, fails, steps

LATER = after(60)


class LaterClock:
    """A minute past noon, for good."""

    def now(self) -> datetime:
        return LATER


CLOCK = LaterClock()


@pytest.fixture
def store() -> Generator[InMemoryRunStore]:
    store = InMemoryRunStore()
    yield store
    store.close()


def given(store: RunStore, status: RunStatus, *jobs: Job, **values: Any) -> Run:
    run = a_run(status=status, **values)
    with store.begin(TENANT) as tx:
        tx.add_run(run, jobs)
    return run


def pause(store: RunStore, run: Run, by: str = "ada") -> Run:
    return pause_run(store, CLOCK, run.tenant_id, run.id, by)


def resume(store: RunStore, run: Run, by: str = "ada") -> Run:
    return resume_run(store, CLOCK, run.tenant_id, run.id, by)


def stands(store: RunStore, run: Run) -> Run:
    with store.begin(TENANT, read_only=True) as tx:
        return tx.get_run(run.id)


def history(store: RunStore, run: Run) -> tuple[RunEvent, ...]:
    """What happened to a run since it was added."""
    with store.begin(TENANT, read_only=True) as tx:
        return tx.list_events(run.id)[1:]


def told(store: RunStore) -> list[str]:
    """Keys of the messages that tell Prefect of a status."""
    return [m.key for m in store.due_messages(LATER) if m.topic == SHOW_STATUS]


# --- pausing


def test_a_run_that_is_executed_is_asked_to_pause(store: InMemoryRunStore):
    run = given(store, RunStatus.RUNNING, admitted_at=NOON)
    asked = pause(store, run)
    assert asked == stands(store, run)
    assert (asked.status, asked.admitted_at) == (RunStatus.RUNNING, NOON)
    assert asked.pause_requested_at == LATER
    (event,) = history(store, run)
    assert (event.kind, event.detail) == ("request", {"asked": "pause", "by": "ada"})
    assert (event.from_status, event.to_status) == (None, None)
    assert told(store) == []


@pytest.mark.parametrize("status", [RunStatus.VALIDATED, RunStatus.QUEUED])
def test_a_run_that_nobody_has_begun_stays_and_is_not_admitted(
    store: InMemoryRunStore, status: RunStatus
):
    run = given(store, status)
    assert store.waiting_runs(LATER) == (RunKey(TENANT, run.id),)
    asked = pause(store, run)
    assert (asked.status, asked.pause_requested_at) == (status, LATER)
    assert store.waiting_runs(LATER) == ()
    resume(store, run)
    assert store.waiting_runs(LATER) == (RunKey(TENANT, run.id),)


def test_a_waiting_run_is_paused_at_once_and_its_jobs_wait_on(store: InMemoryRunStore):
    run = a_run(status=RunStatus.WAITING, wake_at=NOON)
    job = a_job(run, status=JobStatus.WAITING, not_before=after(30), attempt=1)
    with store.begin(TENANT) as tx:
        tx.add_run(run, [job])
    paused = pause(store, run)
    assert paused == stands(store, run)
    assert (paused.status, paused.wake_at) == (RunStatus.PAUSED, None)
    assert paused.pause_requested_at is None
    assert store.waiting_runs(LATER) == ()
    (event,) = [event for event in history(store, run) if event.kind == "run"]
    assert (event.from_status, event.to_status) == ("Waiting", "Paused")
    assert event.detail == {"by": "ada"}
    assert told(store) == [f"{run.id}:{paused.version}"]
    with store.begin(TENANT, read_only=True) as tx:
        assert tx.get_job(run.id, job.step) == job


def test_a_run_that_a_killed_process_left_is_paused_at_once(store: InMemoryRunStore):
    run = a_run(status=RunStatus.RUNNING)
    job = a_job(run, status=JobStatus.RUNNING, attempt=1, lease_owner="gone", lease_expires_at=NOON)
    with store.begin(TENANT) as tx:
        tx.add_run(run, [job])
        tx.add_attempt(an_attempt(job))
    assert pause(store, run).status is RunStatus.PAUSED
    with store.begin(TENANT, read_only=True) as tx:
        left = tx.get_job(run.id, job.step)
        (attempt,) = tx.list_attempts(run.id)
    assert (left.status, left.lease_owner) == (JobStatus.PENDING, None)
    assert attempt.outcome is Outcome.LOST


def test_a_run_without_a_slot_whose_process_lives_is_asked(store: InMemoryRunStore):
    run = given(store, RunStatus.RUNNING)
    with store.begin(TENANT) as tx:
        assert tx.try_lock(walk_lock(run.id), "elsewhere:1-x", NOON, after(90))
    asked = pause(store, run)
    assert (asked.status, asked.pause_requested_at) == (RunStatus.RUNNING, LATER)


def test_a_run_whose_process_died_after_it_was_asked_can_be_paused_by_asking_again(
    store: InMemoryRunStore,
):
    run = given(store, RunStatus.RUNNING, pause_requested_at=NOON)
    paused = pause(store, run)
    assert (paused.status, paused.pause_requested_at) == (RunStatus.PAUSED, None)


@pytest.mark.parametrize(
    ("status", "values"),
    [
        (RunStatus.RUNNING, {"admitted_at": NOON}),
        (RunStatus.QUEUED, {}),
        (RunStatus.WAITING, {"wake_at": NOON}),
    ],
)
def test_pausing_twice_is_pausing_once(
    store: InMemoryRunStore, status: RunStatus, values: dict[str, Any]
):
    run = given(store, status, **values)
    once = pause(store, run)
    assert pause(store, run, by="bob") == once == stands(store, run)
    assert len(history(store, run)) == 1


@pytest.mark.parametrize("status", sorted(RUN_ENDED))
def test_an_ended_run_is_not_paused(store: InMemoryRunStore, status: RunStatus):
    run = given(store, status, completed_at=NOON, cancel_requested_at=NOON)
    with pytest.raises(IllegalTransitionError, match=f"{status} and cannot become Paused"):
        pause(store, run)
    assert stands(store, run) == run


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED])
@pytest.mark.parametrize("service", [pause, resume])
def test_a_run_that_is_being_cancelled_is_neither_paused_nor_resumed(
    store: InMemoryRunStore, service: Callable[..., Run], status: RunStatus
):
    run = given(store, status, cancel_requested_at=NOON, pause_requested_at=NOON)
    with pytest.raises(ConflictError, match=f"is {status} and being cancelled"):
        service(store, run)
    assert stands(store, run) == run
    assert history(store, run) == ()


# --- resuming


def test_a_resumed_run_queues_for_a_slot(store: InMemoryRunStore):
    deadline = LATER + timedelta(hours=1)
    run = given(
        store, RunStatus.PAUSED, flow_run_id="flow-1", deadline_at=deadline, started_at=NOON
    )
    resumed = resume(store, run, by="bob")
    assert resumed == stands(store, run)
    assert (resumed.status, resumed.admitted_at) == (RunStatus.QUEUED, None)
    assert (resumed.flow_run_id, resumed.started_at) == ("flow-1", NOON)
    assert resumed.deadline_at == deadline
    assert store.waiting_runs(LATER) == (RunKey(TENANT, run.id),)
    (event,) = history(store, run)
    assert (event.from_status, event.to_status) == ("Paused", "Queued")
    assert event.detail == {"by": "bob"}
    assert told(store) == [f"{run.id}:{resumed.version}"]


def test_a_pause_that_has_not_happened_yet_is_withdrawn(store: InMemoryRunStore):
    run = given(store, RunStatus.RUNNING, admitted_at=NOON)
    pause(store, run)
    goes_on = resume(store, run, by="bob")
    assert goes_on == stands(store, run)
    assert (goes_on.status, goes_on.admitted_at) == (RunStatus.RUNNING, NOON)
    assert goes_on.pause_requested_at is None
    assert [event.detail for event in history(store, run)] == [
        {"asked": "pause", "by": "ada"},
        {"asked": "resume", "by": "bob"},
    ]
    assert told(store) == []


def test_resuming_twice_is_resuming_once(store: InMemoryRunStore):
    run = given(store, RunStatus.PAUSED)
    once = resume(store, run)
    assert resume(store, run) == once == stands(store, run)
    assert len(history(store, run)) == 1


@pytest.mark.parametrize(
    "status", sorted(set(RunStatus) - {RunStatus.PAUSED, RunStatus.QUEUED, RunStatus.REQUESTED})
)
def test_a_run_that_is_not_paused_cannot_be_resumed(store: InMemoryRunStore, status: RunStatus):
    run = given(store, status, completed_at=NOON if status in RUN_ENDED else None)
    with pytest.raises(IllegalTransitionError, match=f"is {status} ") as refused:
        resume(store, run)
    assert refused.value.hint == "only a paused run can be resumed"
    assert stands(store, run) == run


def test_a_run_that_was_paused_half_way_goes_on_behind_what_it_did(factory: SmallFactory):
    walk = factory.start(steps("a:", "b: needs: [a]"), deadline=timedelta(hours=1))
    factory.finish(walk, "a")
    asked = pause_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
    paused = put_down(factory.engine, walk, RunStatus.PAUSED)
    assert (paused.status, paused.admitted_at) == (RunStatus.PAUSED, None)
    assert paused.pause_requested_at is None
    factory.clock.pass_time(timedelta(minutes=30))
    resume_run(factory.store, factory.clock, TENANT, paused.id, "ada")
    factory.on["a"] = fails(AssertionError("it ran again"))
    done = factory.drive(factory.take_up(paused))
    assert done.status is RunStatus.SUCCEEDED
    assert done.deadline_at == asked.deadline_at  # it went on meanwhile
    assert factory.moves(done)[2:] == [
        "Queued",
        "Running",
        "Paused",
        "Queued",
        "Running",
        done.status,
    ]


# --- whoever asks, and how many


@pytest.mark.parametrize("service", [pause, resume])
def test_another_tenants_run_is_not_there(store: InMemoryRunStore, service: Callable[..., Run]):
    with store.begin("other") as tx:
        tx.add_run(run := a_run(tenant_id="other", status=RunStatus.PAUSED))
    with pytest.raises(RunNotFoundError):
        service(store, a_run(id=run.id))


@pytest.mark.parametrize("by", ["", "'; DROP TABLE runs; --", "a\nb\x00c", "ä€😀", "x" * 200])
def test_whoever_asks_is_written_down_as_given(store: InMemoryRunStore, by: str):
    run = given(store, RunStatus.RUNNING, admitted_at=NOON)
    pause(store, run, by)
    assert history(store, run)[0].detail == {"asked": "pause", "by": by}


def at_once(*tasks: Callable[[], Run]) -> list[str]:
    """Do all of them at the same time; how each went."""
    together = Barrier(len(tasks))

    def do(task: Callable[[], Run]) -> str:
        together.wait(10)
        try:
            return task().status
        except FactoryError as error:
            return error.code

    with ThreadPoolExecutor(len(tasks)) as pool:
        return sorted(pool.map(do, tasks))


def test_of_many_who_pause_at_once_one_does(database_store: SqlRunStore):
    run = given(database_store, RunStatus.WAITING, wake_at=NOON)
    answers = at_once(*[lambda: pause(database_store, run)] * 4)
    assert answers == ["Paused"] * 4
    assert len(history(database_store, run)) == 1
    assert len(told(database_store)) == 1


def test_a_pause_and_a_resume_at_once_leave_one_of_both(database_store: SqlRunStore):
    run = given(database_store, RunStatus.RUNNING, admitted_at=NOON, pause_requested_at=NOON)
    answers = at_once(lambda: pause(database_store, run), lambda: resume(database_store, run))
    assert answers == ["Running", "Running"]
    asked = [event.detail["asked"] for event in history(database_store, run)]
    is_asked = stands(database_store, run).pause_requested_at is not None
    assert (asked, is_asked) in [(["resume"], False), (["resume", "pause"], True)]
