"""Giving runs a slot: each once, in order, never more than the cap, and none lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest

from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    ConflictError,
    FactoryError,
    HostRejectedError,
    NotFoundError,
    PrefectUnavailableError,
    RunNotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.services.dispatch import (
    BEGIN_WITHIN,
    CANCELLED_IN_PREFECT,
    START_WITHIN,
    admit,
    dispatch_next,
    give_back,
    leave_to_dispatchers,
)
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.engine import Walk, begin_walk
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.sweep import sweep
from tests.builders import TENANT, after
from tests.small_factory import FlowRuns, SmallFactory, steps

T = TypeVar("T")
MANY = 100
WORKER = "another-machine:7"


@pytest.fixture
def prefect() -> FlowRuns:
    return FlowRuns()


@pytest.fixture
def small(factory: SmallFactory) -> SmallFactory:
    factory.template(steps("a:"))
    return factory


def dispatch(
    small: SmallFactory, prefect: FlowRuns, cap: int = MANY, worker: str = WORKER
) -> Run | None:
    return dispatch_next(small.store, prefect, small.clock, cap, worker)


def dispatch_all(small: SmallFactory, prefect: FlowRuns, cap: int = MANY) -> list[str]:
    """Ids of the runs that are launched until none can be, in order."""
    launched: list[str] = []
    while (run := dispatch(small, prefect, cap)) is not None:
        launched.append(run.id)
    return launched


def slots(small: SmallFactory) -> int:
    with small.store.begin_dispatch() as transaction:
        return len(transaction.holders())


def at_once(*tasks: Callable[[], T]) -> list[T]:
    """What the tasks answer that begin at the same moment."""
    together = threading.Barrier(len(tasks))

    def begin(task: Callable[[], T]) -> T:
        together.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(begin, tasks))


# --- the order


def test_the_urgent_goes_first_and_then_the_oldest(small: SmallFactory, prefect: FlowRuns):
    asked: list[Run] = []
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL, Priority.HIGH):
        asked.append(small.request(priority=priority))
        small.clock.pass_time()
    assert dispatch_all(small, prefect) == [asked[number].id for number in (2, 4, 1, 3, 0)]


def test_a_dispatched_run_is_queued_and_knows_its_flow_run(small: SmallFactory, prefect: FlowRuns):
    small.request()
    run = dispatch(small, prefect)
    assert run is not None
    assert run == small.run(run)
    assert (run.status, run.admitted_at) == (RunStatus.QUEUED, small.clock.now())
    assert run.flow_run_id == prefect.made[run.id]
    assert small.moves(run) == ["Requested", "Validated", "Queued"]


def test_where_no_run_waits_nothing_is_launched(small: SmallFactory, prefect: FlowRuns):
    assert dispatch(small, prefect) is None
    assert prefect.made == {}


# --- the cap


def test_no_more_runs_than_the_cap_have_a_slot(small: SmallFactory, prefect: FlowRuns):
    asked = [small.request(tenant_id=tenant) for tenant in ("acme", "other", "acme")]
    assert len(dispatch_all(small, prefect, cap=2)) == 2
    assert slots(small) == 2
    waiting = [run for run in asked if small.run(run).status is RunStatus.VALIDATED]
    assert len(waiting) == 1


def test_a_run_that_ends_makes_room_for_the_next(small: SmallFactory, prefect: FlowRuns):
    small.request()
    small.clock.pass_time()
    second = small.request()
    first = dispatch(small, prefect, cap=1)
    assert first is not None
    assert dispatch(small, prefect, cap=1) is None
    small.drive(small.take_up(first, str(first.flow_run_id)))
    assert dispatch_all(small, prefect, cap=1) == [second.id]
    assert slots(small) == 1


@pytest.mark.parametrize("cap", [0, -1])
def test_without_any_slot_nothing_is_admitted(small: SmallFactory, prefect: FlowRuns, cap: int):
    run = small.request()
    assert dispatch(small, prefect, cap) is None
    assert admit(small.store, small.clock, run, cap, WORKER) == run == small.run(run)


def test_dispatchers_and_a_run_born_in_prefect_that_race_keep_to_the_cap(
    small: SmallFactory, prefect: FlowRuns
):
    for tenant in ("acme", "other") * 3:
        small.request(tenant_id=tenant)
    born = small.request(flow_run_id="flow-of-prefect", priority=Priority.HIGH)
    at_once(
        lambda: dispatch_all(small, prefect, cap=3),
        lambda: dispatch_all(small, prefect, cap=3),
        lambda: admit(small.store, small.clock, born, 3, WORKER),
    )
    assert slots(small) == 3


def test_two_dispatchers_that_race_admit_each_run_once(small: SmallFactory, prefect: FlowRuns):
    asked = {small.request(tenant_id=tenant).id for tenant in ("acme", "other") for _ in range(5)}
    one, other = at_once(lambda: dispatch_all(small, prefect), lambda: dispatch_all(small, prefect))
    assert sorted([*one, *other]) == sorted(asked)
    assert set(prefect.made) == asked


# --- runs that began in Prefect


def test_a_run_born_in_prefect_is_admitted_where_a_slot_is_free(small: SmallFactory):
    run = small.request(flow_run_id="flow-of-prefect")
    admitted = admit(small.store, small.clock, run, 1, WORKER)
    assert (admitted.status, admitted.admitted_at) == (RunStatus.QUEUED, small.clock.now())
    walk = begin_walk(small.engine, TENANT, run.id, "flow-of-prefect")
    assert isinstance(walk, Walk)


def test_a_run_born_in_prefect_waits_its_turn_behind_others(small: SmallFactory, prefect: FlowRuns):
    first = small.request()
    small.clock.pass_time()
    born = small.request(flow_run_id="flow-of-prefect")
    assert admit(small.store, small.clock, born, 1, WORKER).admitted_at is None
    leave_to_dispatchers(small.store, born)
    with pytest.raises(ConflictError, match="waits to be admitted"):
        begin_walk(small.engine, TENANT, born.id, "flow-of-prefect")
    assert dispatch_all(small, prefect, cap=2) == [first.id, born.id]
    assert small.run(born).flow_run_id == "flow-of-prefect"
    assert set(prefect.made) == {first.id}


def test_dispatchers_leave_a_run_born_in_prefect_to_who_began_it(
    small: SmallFactory, prefect: FlowRuns
):
    born = small.request(flow_run_id="flow-of-prefect")
    assert dispatch(small, prefect) is None
    small.clock.pass_time(BEGIN_WITHIN / 2)
    assert dispatch(small, prefect) is None
    assert admit(small.store, small.clock, born, MANY, WORKER).admitted_at is not None


def test_a_run_whose_beginner_was_killed_is_started_by_a_dispatcher(
    small: SmallFactory, prefect: FlowRuns
):
    born = small.request(flow_run_id="flow-of-prefect")
    small.clock.pass_time(BEGIN_WITHIN)
    assert dispatch_all(small, prefect) == [born.id]


def test_a_run_that_has_a_slot_is_not_admitted_again(small: SmallFactory):
    run = small.request()
    admitted = admit(small.store, small.clock, run, MANY, WORKER)
    small.clock.pass_time()
    assert admit(small.store, small.clock, run, MANY, "another:8") == admitted == small.run(run)
    assert slots(small) == 1


def test_another_tenants_run_is_not_found(small: SmallFactory):
    run = small.request()
    with pytest.raises(RunNotFoundError):
        admit(small.store, small.clock, replace(run, tenant_id="other"), MANY, WORKER)


# --- Prefect is away, or refuses


def test_while_prefect_is_away_no_run_keeps_a_slot(small: SmallFactory, prefect: FlowRuns):
    asked = [small.request() for _ in range(2)]
    prefect.away = True
    for _ in range(3):
        with pytest.raises(PrefectUnavailableError):
            dispatch(small, prefect)
        assert slots(small) == 0
    assert {small.walker(run) for run in asked} == {None}
    prefect.away = False
    launched = dispatch_all(small, prefect)
    assert sorted(launched) == sorted(run.id for run in asked)
    assert small.moves(asked[0]) == ["Requested", "Validated", "Queued"]


def test_a_run_cancelled_while_prefect_was_away_is_not_launched(
    small: SmallFactory, prefect: FlowRuns
):
    run = small.request()
    prefect.away = True
    with pytest.raises(PrefectUnavailableError):
        dispatch(small, prefect)
    cancel_run(small.store, small.clock, TENANT, run.id, "ada")
    prefect.away = False
    assert dispatch(small, prefect) is None
    assert prefect.made == {}


def test_a_run_whose_flow_run_was_cancelled_in_prefect_is_cancelled_when_its_turn_has_come(
    small: SmallFactory, prefect: FlowRuns
):
    run = small.request(flow_run_id="flow-9")
    leave_to_dispatchers(small.store, run)
    small.clock.pass_time()
    behind = small.request()
    prefect.cancelled.add("flow-9")
    assert dispatch_all(small, prefect) == [behind.id]
    ended = small.run(run)
    assert (ended.status, ended.error) == (RunStatus.CANCELLED, CANCELLED_IN_PREFECT)


def test_a_run_cancelled_while_it_was_launched_stays_cancelled(small: SmallFactory):
    class CancelledMeanwhile(FlowRuns):
        def launch(self, run: Run) -> str:
            cancel_run(small.store, small.clock, TENANT, run.id, "ada")
            return super().launch(run)

    run = small.request()
    assert dispatch(small, CancelledMeanwhile()) is None
    assert small.run(run).status is RunStatus.CANCELLED
    assert small.run(run).flow_run_id is None
    assert slots(small) == 0


def test_a_run_that_started_though_prefects_answer_was_lost_keeps_its_slot(small: SmallFactory):
    class AnswersInVain(FlowRuns):
        def launch(self, run: Run) -> str:
            begin_walk(small.engine, TENANT, run.id, super().launch(run))
            raise PrefectUnavailableError("the connection broke")

    run = small.request()
    with pytest.raises(PrefectUnavailableError):
        dispatch(small, AnswersInVain())
    started = small.run(run)
    assert (started.status, started.admitted_at) == (RunStatus.RUNNING, small.clock.now())
    assert dispatch(small, FlowRuns()) is None


@pytest.mark.parametrize(
    "refusal", [HostRejectedError("Prefect says 422"), ArtifactNotFoundError("its inputs are gone")]
)
def test_a_run_that_can_never_be_launched_fails_and_holds_nobody_up(
    small: SmallFactory, refusal: FactoryError
):
    class RefusesOne(FlowRuns):
        def launch(self, run: Run) -> str:
            if run.id == refused.id:
                raise refusal
            return super().launch(run)

    refused = small.request(tenant_id="acme")
    small.clock.pass_time()
    other = small.request(tenant_id="other")
    given = dispatch(small, RefusesOne(), cap=1)
    assert given is not None
    assert given.id == other.id
    ended = small.run(refused)
    assert (ended.status, ended.error) == (RunStatus.FAILED, str(refusal))


@pytest.mark.parametrize(
    "passing", [NotFoundError("somebody deleted it just now"), StaleVersionError("it was raced")]
)
def test_what_is_gone_or_raced_in_prefect_fails_no_run(small: SmallFactory, passing: FactoryError):
    class FailsOnce(FlowRuns):
        left = 1

        def launch(self, run: Run) -> str:
            if self.left:
                self.left -= 1
                raise passing
            return super().launch(run)

    run, prefect = small.request(), FailsOnce()
    assert dispatch(small, prefect) is None
    waiting = small.run(run)
    assert (waiting.ended, waiting.admitted_at) == (False, None)
    small.clock.pass_time(timedelta(seconds=2))
    assert dispatch(small, prefect) == small.run(run)


def test_a_run_that_a_dispatcher_took_over_is_set_aside_no_more(small: SmallFactory):
    run = small.request(flow_run_id="flow-1", idempotency_key="flow-run:flow-1")
    small.clock.pass_time(BEGIN_WITHIN)
    assert dispatch(small, FlowRuns()) == small.run(run)
    with small.store.begin(TENANT, read_only=True) as tx:
        assert tx.find_set_aside(run.id) is None


# --- killed on the way


class Killed(BaseException):
    """Nothing of the process is left to handle it."""


class KilledWhileLaunching(FlowRuns):
    def launch(self, run: Run) -> str:
        raise Killed


def test_the_slot_of_a_dispatcher_killed_before_prefects_answer_is_given_back(
    small: SmallFactory, prefect: FlowRuns
):
    run = small.request()
    with pytest.raises(Killed):
        dispatch(small, KilledWhileLaunching())
    assert (small.run(run).status, slots(small)) == (RunStatus.QUEUED, 1)
    small.clock.pass_time(START_WITHIN - timedelta(seconds=1))
    assert sweep(small.store, small.clock).left == 0  # it might only be slow
    assert dispatch(small, prefect) is None
    small.clock.pass_time(timedelta(seconds=1))
    assert sweep(small.store, small.clock).left == 1
    assert slots(small) == 0
    assert dispatch_all(small, prefect, cap=1) == [run.id]
    assert small.moves(run) == ["Requested", "Validated", "Queued"]


def test_the_slot_of_a_dispatcher_that_is_known_to_be_dead_is_given_back_at_once(
    small: SmallFactory, prefect: FlowRuns, dead: str
):
    run = small.request()
    with pytest.raises(Killed):
        dispatch(small, KilledWhileLaunching(), worker=dead)
    assert sweep(small.store, small.clock).left == 1
    assert dispatch_all(small, prefect) == [run.id]


def test_a_run_left_by_a_killed_dispatcher_is_given_to_one_of_two(
    small: SmallFactory, prefect: FlowRuns, dead: str
):
    asked = small.request()
    with pytest.raises(Killed):
        dispatch(small, KilledWhileLaunching(), worker=dead)
    sweep(small.store, small.clock)
    given = at_once(lambda: dispatch(small, prefect), lambda: dispatch(small, prefect))
    assert [run.id for run in given if run is not None] == [asked.id]


def test_a_run_that_could_not_be_started_after_all_gives_its_slot_back(
    small: SmallFactory, prefect: FlowRuns
):
    asked = small.request()
    run = dispatch(small, prefect, cap=1)
    assert run is not None
    give_back(small.store, small.clock, run, WORKER)
    assert (slots(small), small.walker(run)) == (0, None)
    assert dispatch_all(small, prefect, cap=1) == [asked.id]
    assert small.run(asked).flow_run_id == run.flow_run_id


def test_a_slot_that_another_has_given_meanwhile_is_not_given_back(
    small: SmallFactory, prefect: FlowRuns
):
    small.request()
    late = dispatch(small, prefect)
    assert late is not None
    small.clock.pass_time(START_WITHIN)
    sweep(small.store, small.clock)
    assert dispatch(small, prefect, worker="another:8") is not None
    give_back(small.store, small.clock, late, WORKER)
    assert slots(small) == 1
    assert small.walker(late) == "another:8-dispatcher"


# --- runs that come back


def test_a_run_that_waits_gets_no_slot_before_its_time(small: SmallFactory, prefect: FlowRuns):
    walk = small.start(steps("a:"))
    put_down(small.engine, walk, RunStatus.WAITING, after(60))
    small.clock.at = after(59)
    assert dispatch(small, prefect) is None
    small.clock.at = after(60)
    assert dispatch_all(small, prefect) == [walk.run.id]
    again = begin_walk(small.engine, TENANT, walk.run.id, "flow-1")
    assert isinstance(again, Walk)
    assert small.moves(walk.run)[-2:] == ["Waiting", "Running"]


def test_a_run_that_is_asked_to_pause_gets_no_slot_until_it_is_resumed(
    small: SmallFactory, prefect: FlowRuns
):
    run = small.request()
    pause_run(small.store, small.clock, TENANT, run.id, "ada")
    assert dispatch(small, prefect) is None
    assert admit(small.store, small.clock, run, MANY, WORKER).admitted_at is None
    resume_run(small.store, small.clock, TENANT, run.id, "ada")
    assert dispatch_all(small, prefect) == [run.id]


def test_a_run_asked_to_pause_whose_slot_is_given_back_is_not_left_lying(
    small: SmallFactory, prefect: FlowRuns
):
    walk = small.start(steps("a:"))
    put_down(small.engine, walk)

    class PausedMeanwhile(FlowRuns):
        def launch(self, run: Run) -> str:
            pause_run(small.store, small.clock, TENANT, run.id, "ada")
            raise PrefectUnavailableError("no Prefect server answers")

    with pytest.raises(PrefectUnavailableError):
        dispatch(small, PausedMeanwhile())
    assert small.run(walk.run).status is RunStatus.PAUSED
    resume_run(small.store, small.clock, TENANT, walk.run.id, "ada")
    assert dispatch_all(small, prefect) == [walk.run.id]
