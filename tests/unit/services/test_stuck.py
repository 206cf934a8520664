"""Runs in which nothing happens any more are told of, once; those that rightly wait are not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.notice import Notice, NoticeKind, notice_from_payload
from factory_runtime.domain.policy import Limits
from factory_runtime.domain.records import RunEvent, TopicWait
from factory_runtime.domain.result import WaitUntil
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.services import topics
from factory_runtime.services.end_run import end_run
from factory_runtime.services.engine import Walk, keep_walking
from factory_runtime.services.messages import GIVEN_UP
from factory_runtime.services.pause_run import pause_run
from factory_runtime.services.put_down import put_down
from factory_runtime.services.stuck import tell_stuck
from tests.builders import NOON, TENANT
from tests.small_factory import SmallFactory, steps

HOUR = timedelta(hours=1)


def look(factory: SmallFactory, cap: int = 4) -> int:
    return tell_stuck(factory.store, factory.clock, HOUR, cap)


def notices(factory: SmallFactory) -> list[Notice]:
    found = [notice_from_payload(m.payload) for m in factory.messages(topics.NOTICE)]
    return [notice for notice in found if notice.kind is NoticeKind.RUN_STUCK]


def started(factory: SmallFactory) -> Walk:
    walk = factory.start(steps("a:", "b: needs: [a]"))
    factory.begin(walk, "a")
    return walk


def requested(factory: SmallFactory, **values: Any) -> Run:
    factory.template(steps("a:"))
    return factory.request(**values)


def test_a_run_without_a_sign_of_life_for_an_hour_is_told_of_once(factory: SmallFactory):
    walk = started(factory)
    factory.clock.pass_time(HOUR + factory.engine.lease - timedelta(seconds=1))
    assert look(factory) == 0
    factory.clock.pass_time()
    assert look(factory) == 1
    factory.clock.pass_time(10 * HOUR)
    look(factory)
    (notice,) = notices(factory)
    assert notice.run_id == walk.run.id
    assert notice.title == f"demo {walk.run.id} is Running, and nothing happened for 60 min"
    assert "a is Running" in notice.body
    assert f"factory runs show {walk.run.id} --tenant {TENANT}" in notice.body


def test_another_standstill_of_the_same_run_is_another_notice(factory: SmallFactory):
    walk = started(factory)
    factory.clock.pass_time(2 * HOUR)
    look(factory)
    factory.take_over(walk)  # it went on, and stands again
    factory.clock.pass_time(2 * HOUR)
    look(factory)
    assert len({notice.key for notice in notices(factory)}) == 2


def test_that_nobody_could_be_told_of_a_standstill_is_no_sign_of_life(factory: SmallFactory):
    walk = started(factory)
    factory.clock.pass_time(2 * HOUR)
    assert look(factory) == 1
    given_up = RunEvent(TENANT, walk.run.id, factory.clock.at, GIVEN_UP)
    with factory.store.begin(TENANT) as tx:
        tx.add_event(given_up)
    assert look(factory) == 1
    assert len(notices(factory)) == 1


def test_a_job_whose_heart_beats_is_not_stuck(factory: SmallFactory):
    walk = started(factory)
    for _ in range(200):
        factory.clock.pass_time(timedelta(seconds=30))
        assert keep_walking(factory.engine, walk)
    assert look(factory) == 0


def test_a_run_that_nobody_takes_up_while_slots_are_free_is_stuck(factory: SmallFactory):
    run = requested(factory)
    factory.clock.pass_time(HOUR)
    assert look(factory) == 1
    (notice,) = notices(factory)
    assert "It wants a slot, and slots are free" in notice.body
    assert notice.facts["status"] == RunStatus.VALIDATED == factory.run(run).status


def test_a_run_that_waits_for_a_slot_is_not_stuck(factory: SmallFactory):
    factory.admit(requested(factory))
    run = requested(factory, tenant_id="umbrella")
    factory.clock.pass_time(HOUR)
    look(factory, cap=1)
    assert run.id not in {notice.run_id for notice in notices(factory)}


def test_a_run_that_its_tenants_limits_hold_back_is_not_stuck(factory: SmallFactory):
    requested(factory)
    factory.clock.pass_time(HOUR)
    held = Limits(running_runs=0)
    assert tell_stuck(factory.store, factory.clock, HOUR, 4, lambda _tenant: held) == 0
    assert look(factory) == 1


def test_a_run_whose_job_waits_for_room_in_its_topic_is_not_stuck(factory: SmallFactory):
    walk = factory.start(steps("a:"))
    factory.clock.pass_time(2 * HOUR)
    now = factory.clock.at
    waiting = TopicWait(TENANT, walk.run.id, "a", "act", Priority.NORMAL, NOON, now)
    with factory.store.begin(TENANT) as tx:
        tx.save_topic_wait(waiting)
    assert look(factory) == 0
    factory.clock.pass_time(HOUR)
    assert look(factory) == 1


def waits(factory: SmallFactory, wait: timedelta) -> Run:
    """A run that waits for something outside, until then."""
    due = factory.clock.at + wait
    factory.on["a"] = lambda _c, _w: WaitUntil(due, "somebody's yes")
    walk = factory.start(steps("a:"))
    factory.attempt(walk, "a")
    assert factory.jobs(walk.run)["a"].status is JobStatus.WAITING
    return put_down(factory.engine, walk, RunStatus.WAITING, due)


def test_a_run_that_waits_for_a_person_is_not_stuck(factory: SmallFactory):
    waits(factory, timedelta(days=7))
    factory.clock.pass_time(timedelta(days=6))
    assert look(factory) == 0


def test_a_run_that_nobody_wakes_an_hour_after_its_time_is_stuck(factory: SmallFactory):
    run = waits(factory, timedelta(days=7))
    factory.clock.pass_time(timedelta(days=7) + HOUR - timedelta(seconds=1))
    assert look(factory) == 0
    factory.clock.pass_time()
    assert look(factory) == 1
    (notice,) = notices(factory)
    assert notice.run_id == run.id
    assert "a is Waiting: somebody's yes" in notice.body


@pytest.mark.parametrize("begun", [True, False])
def test_a_paused_run_is_not_stuck(factory: SmallFactory, begun: bool):
    if begun:
        walk = started(factory)
        pause_run(factory.store, factory.clock, TENANT, walk.run.id, "ada")
        put_down(factory.engine, walk, RunStatus.PAUSED)
    else:
        pause_run(factory.store, factory.clock, TENANT, requested(factory).id, "ada")
    factory.clock.pass_time(timedelta(days=30))
    assert look(factory) == 0


def test_an_ended_run_is_not_stuck(factory: SmallFactory):
    walk = started(factory)
    end_run(factory.store, factory.clock, TENANT, walk.run.id, RunStatus.FAILED, "no")
    factory.clock.pass_time(timedelta(days=30))
    assert look(factory) == 0
