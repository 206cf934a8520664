"""Fairness between tenants, their caps, and runs that cannot be started."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from factory_runtime.domain.errors import PolicyUnavailableError, PrefectFailedError
from factory_runtime.domain.policy import Limits
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.run_store import InMemoryRunStore, SqlRunStore
from factory_runtime.services.dispatch import (
    ASIDE_FIRST,
    ASIDE_LONGEST,
    admit,
    dispatch_next,
    give_back,
)
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.turns import LimitsOf
from tests.builders import a_run, after
from tests.small_factory import FlowRuns, SettableClock, SmallFactory, steps

MANY = 100
WORKER = "another-machine:7"


class Queue:
    """Runs of several tenants on a store in memory, with nothing to execute them."""

    def __init__(
        self,
        limits: Mapping[str, Limits] | None = None,
        cap: int = 10_000,
        store: SqlRunStore | None = None,
    ) -> None:
        self.store = store or InMemoryRunStore()
        self.clock = SettableClock()
        self.prefect = FlowRuns()
        self.limits = dict(limits or {})
        self.cap = cap

    def add(self, tenant_id: str, count: int = 1, **values: Any) -> list[Run]:
        runs: list[Run] = []
        for _ in range(count):
            self.clock.pass_time(timedelta(milliseconds=1))
            requested_at = self.clock.now()
            run = a_run(
                tenant_id=tenant_id,
                **{"status": RunStatus.VALIDATED, "requested_at": requested_at, **values},
            )
            runs.append(run)
        with self.store.begin(tenant_id) as tx:
            for run in runs:
                tx.add_run(run)
        return runs

    def limits_of(self, tenant_id: str) -> Limits:
        return self.limits.get(tenant_id, Limits())

    def next(self, limits_of: LimitsOf | None = None) -> Run | None:
        return dispatch_next(
            self.store, self.prefect, self.clock, self.cap, WORKER, limits_of or self.limits_of
        )

    def tenants(self, count: int) -> list[str]:
        """Of the next so many runs that are started."""
        found = [self.next() for _ in range(count)]
        return [run.tenant_id for run in found if run is not None]

    def end(self, run: Run) -> None:
        with self.store.begin(run.tenant_id) as tx:
            now = tx.get_run(run.id)
            tx.save_run(now, now.move_to(RunStatus.CANCELLED, self.clock.now()))


# --- fairness


def test_behind_a_thousand_runs_of_one_tenant_another_is_next() -> None:
    queue = Queue()
    queue.add("crowd", 1000)
    assert queue.tenants(5) == ["crowd"] * 5
    queue.add("newcomer", 2)
    assert "newcomer" in queue.tenants(2)
    queue.add("third")
    assert "third" in queue.tenants(3)


def test_slots_go_by_weight() -> None:
    queue = Queue({"heavy": Limits(weight=3)})
    queue.add("light", 110)
    queue.add("heavy", 110)
    counts = Counter(queue.tenants(100))
    assert abs(counts["heavy"] - 75) <= 1


def test_who_was_idle_has_saved_nothing_up_and_is_not_punished() -> None:
    queue = Queue()
    queue.add("busy", 60)
    queue.add("guest", 1)
    queue.tenants(40)
    queue.add("guest", 20)
    # Not twenty in a row for the forty that it let pass, nor any later than its turn.
    assert Counter(queue.tenants(10)) == {"busy": 5, "guest": 5}


def test_within_a_tenant_the_urgent_goes_first_and_then_the_oldest() -> None:
    queue = Queue()
    (low,) = queue.add("acme", priority=Priority.LOW)
    (old,) = queue.add("acme")
    (late,) = queue.add("acme")
    (high,) = queue.add("acme", priority=Priority.HIGH)
    found = [queue.next() for _ in range(4)]
    assert [run and run.id for run in found] == [high.id, old.id, late.id, low.id]


def test_priority_in_one_tenant_takes_no_slot_from_another() -> None:
    queue = Queue()
    queue.add("urgent", 10, priority=Priority.HIGH)
    queue.add("patient", 10, priority=Priority.LOW)
    assert Counter(queue.tenants(6)) == {"urgent": 3, "patient": 3}


@settings(max_examples=12)
@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=1, max_size=4),
    crowd=st.integers(1, 20),
    before=st.integers(0, 12),
)
def test_every_tenant_with_a_waiting_run_is_admitted_within_a_bound(
    weights: list[float], crowd: int, before: int
) -> None:
    names = [f"tenant-{number}" for number in range(len(weights))]
    queue = Queue({name: Limits(weight=w) for name, w in zip(names, weights, strict=True)})
    for name in names:
        queue.add(name, crowd)
    queue.tenants(before)
    queue.add("newcomer")
    # Nobody is further ahead of it than one slot of theirs moves them.
    assert "newcomer" in queue.tenants(len(names) + 1)


@settings(max_examples=10)
@given(
    weights=st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=2, max_size=4),
    slots=st.integers(10, 24),
)
def test_backlogged_tenants_share_in_proportion_at_every_moment(
    weights: list[float], slots: int
) -> None:
    names = [f"tenant-{number}" for number in range(len(weights))]
    queue = Queue({name: Limits(weight=w) for name, w in zip(names, weights, strict=True)})
    for name in names:
        queue.add(name, slots)
    counts: Counter[str] = Counter()
    for tenant in queue.tenants(slots):
        counts[tenant] += 1
        shares = [counts[name] / weight for name, weight in zip(names, weights, strict=True)]
        assert max(shares) - min(shares) <= 2


def test_what_comes_back_queues_like_what_is_new(factory: SmallFactory) -> None:
    factory.template(steps("a:"))
    prefect = FlowRuns()

    def next_tenant() -> str | None:
        run = dispatch_next(factory.store, prefect, factory.clock, MANY, WORKER)
        return run and run.tenant_id

    woken = factory.take_up(factory.request(tenant_id="woken"))
    put_down(factory.engine, woken, RunStatus.WAITING, after(60))
    resumed = factory.request(tenant_id="resumed")
    pause_run(factory.store, factory.clock, "resumed", resumed.id, "ada")
    for _ in range(10):
        factory.request(tenant_id="crowd")
    assert next_tenant() == "crowd"
    factory.clock.at = after(60)
    resume_run(factory.store, factory.clock, "resumed", resumed.id, "ada")
    assert {next_tenant() for _ in range(3)} == {"woken", "resumed", "crowd"}


def test_dispatchers_at_once_share_the_slots_as_fairly_as_one(
    database_store: SqlRunStore,
) -> None:
    queue = Queue({"heavy": Limits(weight=2)}, store=database_store)
    for tenant in ("light", "heavy"):
        queue.add(tenant, 40)

    def dispatch(_: int) -> list[Run]:
        return [run for _ in range(10) if (run := queue.next()) is not None]

    with ThreadPoolExecutor(3) as pool:
        started = [run for runs in pool.map(dispatch, range(3)) for run in runs]
    assert len({run.id for run in started}) == len(started) == 30
    assert abs(Counter(run.tenant_id for run in started)["heavy"] - 20) <= 1


# --- caps


def test_a_tenant_at_its_cap_is_passed_over_until_one_of_its_runs_ends() -> None:
    queue = Queue({"capped": Limits(running_runs=2)})
    capped = queue.add("capped", 5)
    queue.add("other", 3)
    assert Counter(queue.tenants(9)) == {"capped": 2, "other": 3}
    queue.end(capped[0])
    assert queue.tenants(3) == ["capped"]


def test_a_full_project_does_not_hold_up_the_tenants_others() -> None:
    queue = Queue({"acme": Limits(projects={"shop": 1, "none": 0})})
    queue.add("acme", priority=Priority.HIGH, project_id="none")
    shop = queue.add("acme", 40, project_id="shop")
    (blog,) = queue.add("acme", project_id="blog")
    assert [run and run.id for run in (queue.next(), queue.next(), queue.next())] == [
        shop[0].id,
        blog.id,
        None,
    ]
    queue.end(shop[0])
    following = queue.next()
    assert following is not None
    assert following.id == shop[1].id


def test_a_cap_lowered_under_what_runs_stops_nothing_and_admits_nothing_until_there_is_room() -> (
    None
):
    queue = Queue()
    queue.add("acme", 10)
    running = [queue.next() for _ in range(4)]
    queue.limits["acme"] = Limits(running_runs=2)
    assert queue.next() is None
    assert len(queue.store.running_runs()) == 4
    for run in running[:2]:
        assert run is not None
        queue.end(run)
    assert queue.next() is None
    assert running[2] is not None
    queue.end(running[2])
    assert queue.tenants(3) == ["acme"]


def test_where_limits_cannot_be_read_nothing_of_the_tenant_starts() -> None:
    queue = Queue()
    queue.add("broken")
    queue.add("whole")

    def limits_of(tenant_id: str) -> Limits:
        if tenant_id == "broken":
            raise PolicyUnavailableError("line 3: no such key")
        return Limits()

    run = queue.next(limits_of)
    assert run is not None
    assert run.tenant_id == "whole"
    assert queue.next(limits_of) is None
    assert queue.tenants(1) == ["broken"]


def test_limits_are_asked_for_while_no_transaction_is_open() -> None:
    queue = Queue()
    queue.add("acme", 2)
    (born,) = queue.add("other")

    def limits_of(tenant_id: str) -> Limits:
        # A store in memory has one connection: this would raise within a transaction.
        assert queue.store.policies() == ()
        return Limits(weight=2)

    assert queue.next(limits_of) is not None
    admitted = admit(queue.store, queue.clock, born, MANY, WORKER, limits_of)
    assert admitted.admitted_at is not None


def test_a_run_born_in_prefect_is_admitted_where_its_turn_comes_while_slots_are_free() -> None:
    queue = Queue({"capped": Limits(running_runs=1)})
    queue.add("crowd", 10)
    (born,) = queue.add("guest")
    second = queue.add("capped", 2)[1]
    assert admit(queue.store, queue.clock, born, 1, WORKER, queue.limits_of).admitted_at is None
    assert admit(queue.store, queue.clock, born, 2, WORKER, queue.limits_of).admitted_at is not None
    assert admit(queue.store, queue.clock, second, MANY, WORKER, queue.limits_of) == second
    # What was admitted out of turn has not moved those on who stand before it.
    assert Counter(queue.tenants(3)) == {"crowd": 2, "capped": 1}


def test_a_tenant_pays_for_a_slot_however_little_it_weighs() -> None:
    queue = Queue({"weightless": Limits(weight=0.0)})
    queue.add("weightless", 3)
    queue.add("other", 50)
    assert Counter(queue.tenants(50))["weightless"] <= 1


# --- runs that cannot be started


class FailsAt(FlowRuns):
    """A Prefect that answers 500 for some runs."""

    def __init__(self, *run_ids: str) -> None:
        super().__init__()
        self.bad = set(run_ids)
        self.asked: list[str] = []

    def launch(self, run: Run) -> str:
        self.asked.append(run.id)
        if run.id in self.bad:
            raise PrefectFailedError("Prefect answers /flow_runs with 500")
        return super().launch(run)


def test_a_run_at_which_prefect_fails_is_set_aside_and_the_next_is_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = Queue(cap=1)
    bad, good, last = queue.add("acme", 3)
    queue.prefect = prefect = FailsAt(bad.id)
    with caplog.at_level(logging.WARNING, "factory.dispatch"):
        started = queue.next()
    assert started is not None
    assert started.id == good.id
    assert bad.id in caplog.text
    assert "500" in caplog.text
    queue.end(started)
    second = queue.next()
    assert second is not None
    assert second.id == last.id
    assert prefect.asked.count(bad.id) == 1


def test_a_run_is_set_aside_for_a_growing_while_and_started_once_it_can_be() -> None:
    queue = Queue()
    (bad,) = queue.add("acme")
    queue.prefect = prefect = FailsAt(bad.id)
    waits: list[timedelta] = []
    for number in range(1, 9):
        assert queue.next() is None
        assert len(prefect.asked) == number
        with queue.store.begin("acme", read_only=True) as tx:
            aside = tx.find_set_aside(bad.id)
        assert aside is not None
        assert aside.times == number
        waits.append(aside.until - queue.clock.now())
        queue.clock.at = aside.until
    assert waits[:3] == [ASIDE_FIRST, 2 * ASIDE_FIRST, 4 * ASIDE_FIRST]
    assert waits[-1] == ASIDE_LONGEST
    prefect.bad.clear()
    started = queue.next()
    assert started is not None
    assert started.id == bad.id
    with queue.store.begin("acme", read_only=True) as tx:
        assert tx.find_set_aside(bad.id) is None


def test_a_run_that_has_ended_is_set_aside_no_more() -> None:
    queue = Queue()
    (bad,) = queue.add("acme")
    queue.prefect = FailsAt(bad.id)
    assert queue.next() is None
    cancel_run(queue.store, queue.clock, "acme", bad.id, "ada")
    with queue.store.begin("acme", read_only=True) as tx:
        assert tx.find_set_aside(bad.id) is None


def test_where_prefect_fails_at_every_run_not_all_are_tried_at_once() -> None:
    queue = Queue()
    runs = queue.add("acme", 10)
    queue.prefect = prefect = FailsAt(*(run.id for run in runs))
    with pytest.raises(PrefectFailedError):
        queue.next()
    assert len(prefect.asked) < 5
    assert queue.store.running_runs() == ()


def test_a_run_whose_row_is_damaged_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue()
    damaged, whole = queue.add("acme", 2)
    with queue.store.engine.begin() as connection:
        spoil = text("UPDATE runs SET inputs = '{', priority = 7 WHERE id = :id")
        connection.execute(
            text("UPDATE runs SET metadata = '{' WHERE id = :id"), {"id": damaged.id}
        )
        connection.execute(spoil, {"id": whole.id})
    (other,) = queue.add("other")
    with caplog.at_level(logging.WARNING, "factory.dispatch"):
        started = queue.next()
        assert queue.next() is None
    assert started is not None
    assert started.id == other.id
    assert {damaged.id, whole.id} <= set(caplog.text.split())


def test_a_run_that_was_given_back_for_prefects_failure_lets_others_go_first() -> None:
    queue = Queue()
    first, second = queue.add("acme", 2)
    started = queue.next()
    assert started is not None
    assert started.id == first.id
    failure = PrefectFailedError("Prefect answers with 500")
    give_back(queue.store, queue.clock, started, WORKER, failure)
    following = queue.next()
    assert following is not None
    assert following.id == second.id
    queue.clock.pass_time(ASIDE_FIRST)
    again = queue.next()
    assert again is not None
    assert again.id == first.id
