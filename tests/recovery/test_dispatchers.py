"""Dispatchers and sweeps at once, messages delivered twice, clocks that jump: each run once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import ConflictError, StoreUnavailableError
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.result import ConfirmedEffect, JobResult
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.ports import JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.records import ATTEMPTS, EVENTS
from factory_runtime.run_store.records import RUNS as RUNS_TABLE
from factory_runtime.services.attempt import Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.dispatch import dispatch_next
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.engine import Walk, begin_walk
from factory_runtime.services.run_attempt import publish_attempt
from factory_runtime.services.sweep import Swept, sweep
from factory_runtime.services.topics import SHOW_RUN
from tests.builders import TENANT
from tests.faults import FaultyStore, Point
from tests.recovery.core_ports import NamesFlowRuns
from tests.recovery.core_site import CoreSite
from tests.small_factory import SUCCEEDED, SmallFactory, steps
from tests.work_types import lines_of

DELIVERIES = 4


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    return SmallFactory(tmp_path, database_store)


@pytest.fixture
def core_site(database_url: str, tmp_path: Path) -> Generator[CoreSite]:
    with closing(CoreSite(database_url, tmp_path / "home")) as site:
        yield site


def delivered(work: Callable[[int], Any]) -> list[Any]:
    """What came of one message that several deliver at the same moment; a conflict is one too."""
    together = threading.Barrier(DELIVERIES)

    def deliver(number: int) -> Any:
        together.wait()
        try:
            return work(number)
        except ConflictError as refusal:
            return refusal

    with ThreadPoolExecutor(DELIVERIES) as pool:
        return list(pool.map(deliver, range(DELIVERIES)))


def only(kind: type[Any], results: list[Any]) -> Any:
    """The one of this kind; all others are conflicts."""
    (one,) = (result for result in results if isinstance(result, kind))
    assert sum(isinstance(result, ConflictError) for result in results) == len(results) - 1
    return one


def assert_succeeded(results: list[Any]) -> None:
    """Some recorded it, or found it recorded in their words; the others were refused."""
    assert SUCCEEDED in results
    assert all(result == SUCCEEDED or isinstance(result, ConflictError) for result in results)


# --- delivered twice


def test_a_flow_run_that_is_delivered_many_times_is_walked_once(factory: SmallFactory) -> None:
    factory.template(steps("make:"))
    run = factory.request()
    factory.admit(run)
    walk = only(Walk, delivered(lambda _: begin_walk(factory.engine, TENANT, run.id, "flow-1")))
    assert factory.walker(run) == walk.holder
    assert factory.moves(run).count("Running") == 1
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    # And once more when all is over: it is answered, not walked.
    assert begin_walk(factory.engine, TENANT, run.id, "flow-1") == factory.run(run)
    assert factory.moves(run).count("Running") == 1


def test_a_job_that_is_delivered_many_times_is_begun_once(factory: SmallFactory) -> None:
    walk = factory.start(steps("make:"))
    copies = [replace(walk, jobs=dict(walk.jobs)) for _ in range(DELIVERIES)]
    begun = only(
        Begun, delivered(lambda number: begin_attempt(factory.engine, copies[number], "make"))
    )
    (attempt,) = factory.attempts(walk.run)
    assert attempt == begun.attempt
    assert factory.moves(walk.run, "make") == ["Running"]


def test_an_attempt_that_is_published_many_times_ends_once(factory: SmallFactory) -> None:
    def make(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        context.intend("line", "a line")
        return JobResult(outputs={"n": 1}, effects=(ConfirmedEffect("line", "l-1"),))

    factory.on["make"] = make
    walk = factory.start(steps("make:", "next: needs: [make]"))
    begun = factory.begin(walk, "make")

    def publish(number: int) -> Any:
        del number
        mine = replace(walk, jobs=dict(walk.jobs), endings={}, lock=threading.Lock())
        return publish_attempt(factory.engine, mine, replace(begun), None)

    assert_succeeded(delivered(publish))
    assert factory.moves(walk.run, "make") == ["Running", "Succeeded"]
    (attempt,) = factory.attempts(walk.run)
    assert attempt.outcome is Outcome.SUCCEEDED
    (effect,) = factory.effects(walk.run)
    assert effect.reference == "l-1"


def test_the_last_job_published_many_times_closes_its_run_once(factory: SmallFactory) -> None:
    walk = factory.start(steps("make:"))
    begun = factory.begin(walk, "make")

    def publish(number: int) -> Any:
        del number
        mine = replace(walk, jobs=dict(walk.jobs), endings={}, lock=threading.Lock())
        return publish_attempt(factory.engine, mine, replace(begun), None)

    assert_succeeded(delivered(publish))
    assert factory.moves(walk.run) == ["Requested", "Validated", "Queued", "Running", "Succeeded"]
    assert len(factory.messages(SHOW_RUN)) == 1


def test_a_message_that_is_delivered_many_times_is_handled_once(factory: SmallFactory) -> None:
    run = factory.complete(steps("make:"))
    handled: list[str] = []

    def handle(message: OutboxMessage) -> None:
        handled.append(message.id)
        assert message.payload["run_id"] == run.id

    drains = delivered(
        lambda _: drain_outbox(factory.store, factory.clock, {SHOW_RUN: handle}, "build-7:1")
    )
    assert sum(drained.done for drained in drains) == len(handled) == 1
    again = drain_outbox(factory.store, factory.clock, {SHOW_RUN: handle}, "build-7:1")
    assert again == Drained()


def test_sweeps_at_once_take_a_lost_run_back_once(factory: SmallFactory) -> None:
    walk = factory.start(steps("make:"))
    factory.begin(walk, "make")
    factory.clock.pass_time(factory.engine.lease)
    swept = delivered(lambda _: sweep(factory.store, factory.clock))
    assert sum(did.left for did in swept) == 1
    (attempt,) = factory.attempts(walk.run)
    assert attempt.outcome is Outcome.LOST
    assert factory.moves(walk.run, "make") == ["Running", "Pending"]
    assert factory.jobs(walk.run)["make"].losses == 1
    assert sweep(factory.store, factory.clock) == Swept()
    again = factory.take_up(walk.run, str(walk.run.flow_run_id))
    assert factory.drive(again).status is RunStatus.SUCCEEDED


# --- a dispatcher whose store goes away


@pytest.mark.parametrize(
    ("at", "admitted"),
    [
        ({1: ("before", 0)}, False),
        ({1: ("between", 3)}, False),
        ({1: ("commit", 0)}, False),
        ({1: ("answer", 0)}, True),
        ({2: ("before", 0)}, True),
        ({2: ("commit", 0)}, True),
        ({2: ("answer", 0)}, True),
        ({1: ("answer", 0), 2: ("answer", 0)}, True),
    ],
)
def test_no_run_keeps_a_slot_that_its_dispatcher_does_not_know_of(
    factory: SmallFactory,
    monkeypatch: pytest.MonkeyPatch,
    at: Mapping[int, tuple[Point, int]],
    admitted: bool,
) -> None:
    monkeypatch.setattr("factory_runtime.services.steadily._FIRST_WAIT", 0.0)
    factory.template(steps("make:"))
    run = factory.request()
    store = FaultyStore(factory.store, at=at)

    def dispatch() -> Run | None:
        return dispatch_next(store, NamesFlowRuns(), factory.clock, 1, factory.engine.worker)

    if admitted:
        launched = dispatch()
    else:
        with pytest.raises(StoreUnavailableError):
            dispatch()
        assert factory.run(run).admitted_at is None
        launched = dispatch()
    assert sum(store.fired.values()) == len(at)
    assert launched == factory.run(run)
    assert factory.moves(run) == ["Requested", "Validated", "Queued"]
    assert isinstance(begin_walk(factory.engine, TENANT, run.id, f"flow-of-{run.id}"), Walk)


# --- many at once, in processes of their own


CAP = 3


@pytest.mark.parametrize("runs", [24, pytest.param(60, marks=pytest.mark.soak)])
def test_dispatchers_and_sweeps_in_many_processes_walk_each_run_once_under_the_cap(
    core_site: CoreSite, runs: int
) -> None:
    site = core_site
    site.template(*site.lines_only(), name="light")
    priorities = list(Priority)
    for number in range(runs):
        site.request("light", priority=priorities[number % 3])
    for _ in range(3):  # each sweeps four times a second, too
        site.start(cap=CAP, at_once=2)
    sampled: list[int] = []

    def look() -> bool:
        sampled.append(len(site.core.store.running_runs()))
        return site.open_runs() == 0

    site.until(look)
    site.end()
    assert max(sampled) <= CAP
    assert CAP in sampled
    site.assert_whole()
    assert Counter(lines_of(site.orders.walks)) == Counter(run.id for run in site.runs)
    rank = {priority: number for number, priority in enumerate(Priority)}
    waiting = sorted(site.rows(RUNS_TABLE), key=lambda r: (rank[r.priority], r.requested_at, r.id))
    queued = sorted(
        (event.at, event.run_id) for event in site.rows(EVENTS) if event.to_status == "Queued"
    )
    assert [run_id for _, run_id in queued] == [run.id for run in waiting]


@pytest.mark.parametrize("runs", [8, pytest.param(24, marks=pytest.mark.soak)])
def test_a_worker_whose_clock_jumps_doubles_nothing_and_every_run_ends(
    core_site: CoreSite, runs: int
) -> None:
    site, gate = core_site, core_site.orders.home / "gate"
    names = site.repositories(3)
    touch = (
        f"name: first, type: touch, with: {{file: '{site.lines('held')}', gate_before: '{gate}'}}"
    )
    site.template(touch, name="held")
    held = [site.request("held", priority=Priority.HIGH) for _ in range(2)]
    for number in range(runs):
        site.request(names[number % 3])
    site.start(cap=4, at_once=2)
    site.until(lambda: len(lines_of(site.orders.walks)) == 2)
    site.start(cap=4, at_once=2, jump_every=0.5)
    # An hour ahead, it takes the other one's runs for left.
    site.until(
        lambda: {a.run_id for a in site.rows(ATTEMPTS) if a.outcome is Outcome.LOST} != set()
    )
    gate.touch()
    site.until_all_have_ended()
    site.end()
    site.assert_whole()
    assert len(lines_of(site.lines("held"))) == len(held)
