"""The line for a topic: fair between tenants, and no slot is held by who only stands in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.policy import Limits
from factory_runtime.domain.records import TopicWait
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.ports import EVERYBODY, JobKey, RunKey
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services import topic_slots
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.breaker import THRESHOLD
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from factory_runtime.services.topic_line import Line, TopicCaps, in_turn, start_of
from factory_runtime.services.topic_slots import PATIENCE, STALE
from flows import walk as walking
from flows import watch
from tasks.execution import Execution
from tasks.gate import Gate
from tests.builders import a_breaker, after
from tests.small_factory import Act, SmallFactory, steps


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> SmallFactory:
    small = SmallFactory(tmp_path / "templates", database_store)
    small.template(steps("a:", "b:"))
    small.engine = capped(small)
    return small


def capped(small: SmallFactory, weights: dict[str, float] | None = None) -> Engine:
    """An executor under a cap of one job of the topic ``act``, of all tenants together."""

    def limits_of(tenant_id: str) -> Limits:
        return Limits(weight=(weights or {}).get(tenant_id, 1.0))

    return replace(small.engine, limits_of=limits_of, topic_caps={"act": 1})


def a_walk(small: SmallFactory, tenant_id: str = "acme", **values: Any) -> Walk:
    small.clock.pass_time(timedelta(milliseconds=1))
    run = small.request(tenant_id=tenant_id, **values)
    return small.take_up(run, f"flow-of-{run.id}")


def again(small: SmallFactory, walk: Walk) -> Walk:
    return small.take_up(walk.run, f"flow-of-{walk.run.id}")


def claim(small: SmallFactory, walk: Walk, name: str = "a") -> Begun:
    begun = begin_attempt(small.engine, walk, name)
    assert isinstance(begun, Begun)
    return begun


def stand_in_line(small: SmallFactory, walk: Walk, name: str = "a") -> AnotherAttempt:
    later = begin_attempt(small.engine, walk, name)
    assert isinstance(later, AnotherAttempt)
    assert later.outcome is Outcome.WAITING
    return later


def end(small: SmallFactory, walk: Walk, begun: Begun) -> None:
    publish_attempt(small.engine, walk, begun, None)


def execution_of(small: SmallFactory, walk: Walk, later: AnotherAttempt | None = None) -> Execution:
    class Parts:
        store, clock, engine = small.store, small.clock, small.engine

    execution = Execution(cast(Runtime, Parts()), walk, Gate(1), asyncio.Semaphore(1))
    if later is not None:
        execution.later["a"] = later
    return execution


def gives_up_its_slot(small: SmallFactory, walk: Walk, later: AnotherAttempt) -> bool:
    return watch._only_waits(execution_of(small, walk, later))  # pyright: ignore[reportPrivateUsage]


def send_away(small: SmallFactory, walk: Walk) -> Run:
    """Stand in line until the run gives its slot back."""
    later = stand_in_line(small, walk)
    while not gives_up_its_slot(small, walk, later):
        small.clock.at = later.not_before
        later = stand_in_line(small, walk)
    return put_down(small.engine, walk, RunStatus.WAITING, later.comes_back_at)


def wait_of(small: SmallFactory, run: Run) -> TopicWait:
    with small.store.begin(run.tenant_id, read_only=True) as tx:
        (wait,) = tx.list_topic_waits(run.id)
    return wait


def nobody(*_: object) -> None:
    """Is called."""


def wanting_slots(small: SmallFactory) -> Sequence[RunKey]:
    return small.store.waiting_runs(small.clock.now())


# --- nothing that waits holds a slot


def test_a_run_in_line_gives_its_slot_back_and_keeps_its_place(factory: SmallFactory) -> None:
    busy, patient = a_walk(factory), a_walk(factory)
    first = claim(factory, busy)
    began = factory.clock.now()
    run = send_away(factory, patient)
    assert factory.clock.now() - began <= PATIENCE + topic_slots.LATEST
    assert (run.status, run.admitted_at) == (RunStatus.WAITING, None)
    assert run.wake_at is not None
    factory.clock.pass_time(STALE + timedelta(seconds=1))  # longer than the dead are waited for
    late = a_walk(factory)
    stand_in_line(factory, late)
    end(factory, busy, first)
    stand_in_line(factory, late)
    claim(factory, again(factory, patient))


def test_the_end_of_a_job_calls_who_is_first_in_line_and_nobody_else(factory: SmallFactory) -> None:
    busy, one, two = (a_walk(factory) for _ in range(3))
    first = claim(factory, busy)
    away = [send_away(factory, walk) for walk in (one, two)]
    assert wanting_slots(factory) == ()
    end(factory, busy, first)
    called = factory.run(away[0])
    assert called.wake_at == factory.clock.now()
    assert wanting_slots(factory) == (RunKey("acme", called.id),)
    second = claim(factory, one := again(factory, one))
    assert wanting_slots(factory) == ()
    end(factory, one, second)
    assert wanting_slots(factory) == (RunKey("acme", two.run.id),)


def test_a_job_that_fails_hands_its_place_on_as_well(factory: SmallFactory) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no")

    factory.on["a"] = fail
    busy, other = a_walk(factory), a_walk(factory, "other")
    begun = claim(factory, busy)
    send_away(factory, other)
    with pytest.raises(ValueError, match="no") as raised:
        end(factory, busy, begun)
    fail_attempt(factory.engine, busy, begun, raised.value)
    assert wanting_slots(factory) == (RunKey("other", other.run.id),)


def test_a_call_that_comes_while_the_run_is_put_down_is_heard(factory: SmallFactory) -> None:
    busy, patient = a_walk(factory), a_walk(factory)
    first = claim(factory, busy)
    stand_in_line(factory, patient)
    factory.clock.pass_time(PATIENCE)
    later = stand_in_line(factory, patient)
    assert gives_up_its_slot(factory, patient, later)
    end(factory, busy, first)
    down = put_down(factory.engine, patient, RunStatus.WAITING, later.comes_back_at)
    assert down.wake_at == factory.clock.now()


def test_who_looks_calls_those_whom_a_killed_process_did_not_call(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, patient, late = (a_walk(factory) for _ in range(3))
    first = claim(factory, busy)
    send_away(factory, patient)
    with monkeypatch.context() as killed:
        killed.setattr(topic_slots, "hand_on", nobody)
        end(factory, busy, first)
    assert wanting_slots(factory) == ()
    stand_in_line(factory, late)
    assert wanting_slots(factory) == (RunKey("acme", patient.run.id),)


def test_who_is_called_by_nobody_comes_back_by_itself(factory: SmallFactory) -> None:
    busy, patient = a_walk(factory), a_walk(factory)
    claim(factory, busy)
    away = send_away(factory, patient)
    assert away.wake_at is not None
    factory.clock.at = away.wake_at
    assert wanting_slots(factory) == (RunKey("acme", away.id),)
    since = wait_of(factory, away).since
    back = again(factory, patient)
    later = stand_in_line(factory, back)
    assert gives_up_its_slot(factory, back, later), "it was patient before"
    assert wait_of(factory, away).since == since


def test_a_paused_run_in_line_holds_up_nobody_and_keeps_its_age(factory: SmallFactory) -> None:
    busy, paused, other = (a_walk(factory) for _ in range(3))
    first = claim(factory, busy)
    away = send_away(factory, paused)
    since = wait_of(factory, away).since
    pause_run(factory.store, factory.clock, "acme", away.id, "ada")
    send_away(factory, other)
    end(factory, busy, first)
    assert wanting_slots(factory) == (RunKey("acme", other.run.id),)
    other = again(factory, other)
    second = claim(factory, other)
    resume_run(factory.store, factory.clock, "acme", away.id, "ada")
    paused = again(factory, paused)
    stand_in_line(factory, paused)
    assert wait_of(factory, away).since == since
    end(factory, other, second)
    claim(factory, paused)


def test_who_was_called_and_does_not_come_holds_up_nobody_for_long(factory: SmallFactory) -> None:
    busy, gone, late = (a_walk(factory) for _ in range(3))
    first = claim(factory, busy)
    send_away(factory, gone)
    end(factory, busy, first)
    stand_in_line(factory, late)
    factory.clock.pass_time(STALE)
    claim(factory, late)


def test_a_look_in_line_is_no_task_of_prefects(factory: SmallFactory) -> None:
    busy, patient = a_walk(factory), a_walk(factory)
    first = claim(factory, busy)
    execution = execution_of(factory, patient, stand_in_line(factory, patient))

    def may_go_on() -> bool:
        factory.clock.at = execution.later["a"].not_before
        return asyncio.run(walking._may_go_on(execution, "a"))  # pyright: ignore[reportPrivateUsage]

    for _ in range(5):
        before = execution.later["a"]
        assert not may_go_on()
        assert execution.later["a"].not_before > before.not_before
        assert wait_of(factory, patient.run).seen_at == before.not_before
    end(factory, busy, first)
    assert may_go_on()
    assert execution.later == {}
    assert factory.attempts(patient.run) == (), "nothing was claimed"


# --- fair between tenants


def test_the_next_place_is_another_tenants_however_many_one_has_in_line(
    factory: SmallFactory,
) -> None:
    busy = a_walk(factory)
    begun = claim(factory, busy)
    many = [a_walk(factory, priority=Priority.HIGH) for _ in range(4)]
    for walk in many:
        stand_in_line(factory, walk)
    late = a_walk(factory, "other")
    stand_in_line(factory, late)
    end(factory, busy, begun)
    for walk in many:
        stand_in_line(factory, walk)
    claim(factory, late)


def a_wait(tenant_id: str, number: int, **values: Any) -> TopicWait:
    values = {"priority": Priority.NORMAL, "since": after(number), **values}
    return TopicWait(tenant_id, f"run-{number}", "a", "act", seen_at=after(9999), **values)


def test_one_job_behind_a_thousand_of_another_tenant_is_among_the_first() -> None:
    many = [a_wait("acme", number) for number in range(1000)]
    one = a_wait("other", 5000)
    line = Line([JobKey("acme", "r", "s")], [*many, one])
    order = in_turn(line, line.waits, TopicCaps(2, {}))
    assert order.index(one) <= 1
    urgent = a_wait("acme", 9000, priority=Priority.HIGH)
    assert in_turn(line, [urgent, one], TopicCaps(2, {})) == [one, urgent]


@pytest.mark.parametrize("weight", [1, 3])
def test_places_are_shared_by_weight_however_few_there_are(weight: int) -> None:
    waits = [a_wait("acme", number) for number in range(100)]
    waits += [a_wait("other", 100 + number) for number in range(100)]
    caps, served = TopicCaps(1, {}, {"acme": 1 / weight, "other": 1.0}), dict[str, float]()
    had: list[str] = []
    for _ in range(40):
        first = in_turn(Line([], waits, served), waits, caps)[0]
        start = start_of(first.tenant_id, served)
        served |= {EVERYBODY: start, first.tenant_id: start + caps.price(first.tenant_id)}
        waits.remove(first)
        had.append(first.tenant_id)
    assert abs(had.count("other") - 40 / (weight + 1)) <= 1


def test_the_turns_a_tenant_had_are_remembered(factory: SmallFactory) -> None:
    factory.engine = capped(factory, {"acme": 2.0})
    walks = [a_walk(factory) for _ in range(4)] + [a_walk(factory, "other") for _ in range(2)]
    busy = a_walk(factory, "busy")
    begun = claim(factory, busy)
    for walk in walks:
        stand_in_line(factory, walk)
    had: list[str] = []
    while walks:
        end(factory, busy, begun)
        found = [(walk, begin_attempt(factory.engine, walk, "a")) for walk in walks]
        ((busy, claimed),) = ((w, one) for w, one in found if isinstance(one, Begun))
        begun = claimed
        walks.remove(busy)
        had.append(busy.run.tenant_id)
    assert had[:3].count("other") == 1
    assert had[:5].count("other") == 2


# --- hosts that are down


def test_a_job_whose_host_is_down_keeps_its_age_in_line(factory: SmallFactory) -> None:
    class Hosted(Act):
        facts = replace(Act.facts, hosts=("git",))

    factory.job_types["act"] = Hosted(factory.on)
    busy, unlucky, other = a_walk(factory), a_walk(factory), a_walk(factory, "other")
    first = claim(factory, busy)
    stand_in_line(factory, unlucky)
    since = wait_of(factory, unlucky.run).since
    end(factory, busy, first)
    soon = factory.clock.now() + timedelta(minutes=5)
    with factory.store.begin("acme") as tx:
        down = a_breaker(host="git", failures=THRESHOLD, open_until=soon)
        tx.save_breaker(down)
    factory.clock.pass_time()
    assert "git is down" in stand_in_line(factory, unlucky).reason
    assert wait_of(factory, unlucky.run).since == since
    claim(factory, other)  # whose host answers
