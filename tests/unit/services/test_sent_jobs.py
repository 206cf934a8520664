"""Jobs that were sent to another queue and that nobody has claimed yet: they are no work under way."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunStore, RunTransaction
from factory_runtime.services import end_run
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.end_run import close_run_if_done
from factory_runtime.services.routed_job import begin_routed
from factory_runtime.services.run_attempt import publish_attempt
from factory_runtime.services.send_job import LOOK_AFTER, hear
from factory_runtime.services.topic_slots import PATIENCE, STALE, hand_on
from tests.faults import FaultyStore
from tests.routed import Routed
from tests.small_factory import SUCCEEDED, SmallFactory, fails, steps


def nothing(_tx: RunTransaction, run: Run, _now: datetime) -> Run:
    return run


@pytest.fixture
def routed(factory: SmallFactory) -> Routed:
    return Routed(factory)


# --- a run that is to be undone

UNDONE = steps("boom: on_failure: compensate", "ship:", "tell: needs: [ship]")


@pytest.mark.parametrize("is_put_down", [False, True])
def test_what_was_only_sent_is_skipped_when_its_run_is_to_be_undone(
    routed: Routed, is_put_down: bool
):
    routed.factory.on["boom"] = fails(PermanentError("no"))
    walk = routed.start(UNDONE)
    routed.send(walk, "boom")
    routed.send(walk, "ship")
    boom, ship = (routed.deliver(walk.run, name) for name in ("boom", "ship"))
    run = routed.put_down(walk) if is_put_down else walk.run
    routed.do(boom)
    job = routed.job(run, "ship")
    assert (job.status, job.skip_reason) == (JobStatus.SKIPPED, SkipReason.NEED_FAILED)
    assert begin_routed(routed.there, ship) is None
    if is_put_down:
        assert routed.is_due(run)
        walk = routed.take_up(run)
    else:
        hear(routed.engine, walk, ["boom", "ship"])
    routed.factory.attempt(walk, "tell", routed.engine)
    assert close_run_if_done(routed.engine, walk).status is RunStatus.FAILED
    assert routed.factory.attempts(run, "ship") == ()


def test_what_is_sent_or_found_after_that_is_not_begun(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(end_run, "call_off", nothing)  # it was sent just after
    routed.factory.on["boom"] = fails(PermanentError("no"))
    walk = routed.start(UNDONE)
    routed.send(walk, "boom")
    routed.send(walk, "ship")
    ship = routed.deliver(walk.run, "ship")
    routed.do(routed.deliver(walk.run, "boom"))
    skipped = Ending(JobStatus.SKIPPED, SkipReason.NEED_FAILED)
    assert routed.do(ship) == skipped
    assert hear(routed.engine, walk, ["boom", "ship"]) == {"boom": None, "ship": None}
    assert walk.endings["ship"] == skipped


def test_what_is_at_work_elsewhere_goes_on_though_its_run_is_to_be_undone(routed: Routed):
    routed.factory.on["boom"] = fails(PermanentError("no"))
    walk = routed.start(UNDONE)
    routed.send(walk, "boom")
    routed.send(walk, "ship")
    there = routed.walk_there(routed.deliver(walk.run, "ship"))
    begun = begin_attempt(routed.there, there, "ship")
    assert isinstance(begun, Begun)
    routed.do(routed.deliver(walk.run, "boom"))
    hear(routed.engine, walk, ["boom", "ship"])
    routed.send(walk, "ship")  # when its time to be looked after has come
    assert publish_attempt(routed.there, there, begun, None) == SUCCEEDED


# --- under a cap


def test_a_run_whose_sent_jobs_are_under_a_cap_sleeps_again_after_it_was_woken(
    factory: SmallFactory,
):
    routed = Routed(factory, act=5)
    walk = routed.start(steps("one:", "two:"))
    routed.send(walk, "one")
    routed.send(walk, "two")
    run = routed.put_down(walk)
    one = routed.deliver(run, "one")
    routed.deliver(run, "two")
    factory.clock.pass_time(timedelta(seconds=30))
    assert routed.do(one) == SUCCEEDED
    assert routed.is_due(run)
    again = routed.take_up(run)
    factory.clock.pass_time(timedelta(seconds=2))
    routed.put_down(again)
    assert not routed.is_due(run)


def test_what_lies_in_a_queue_takes_a_place_from_others_for_a_moment_only(factory: SmallFactory):
    routed = Routed(factory, act=1)
    walk = routed.start(steps("one:"))
    routed.send(walk, "one")
    routed.put_down(walk)
    other = factory.take_up(factory.request(tenant_id="other"), "flow-other", routed.engine)
    in_line = begin_attempt(routed.engine, other, "one")
    assert isinstance(in_line, AnotherAttempt)
    assert other.jobs["one"].routed_to is None
    factory.clock.pass_time(STALE)
    routed.send(other, "one")


def test_nobody_calls_a_job_that_was_sent_after_a_long_time_in_line(factory: SmallFactory):
    routed = Routed(factory, act=1)
    busy = routed.start(steps("one:"))
    begun = begin_attempt(factory.engine, busy, "one")
    assert isinstance(begun, Begun)
    patient = factory.take_up(factory.request(), "flow-patient", routed.engine)
    begin_attempt(routed.engine, patient, "one")
    factory.clock.pass_time(PATIENCE)
    publish_attempt(factory.engine, busy, begun, None)
    routed.send(patient, "one")
    run = routed.put_down(patient)
    other = factory.take_up(factory.request(tenant_id="other"), "flow-other", routed.engine)
    hand_on(routed.engine, "other", "act")
    assert not routed.is_due(run)
    assert isinstance(begin_attempt(routed.engine, other, "one"), AnotherAttempt)
    factory.clock.pass_time(STALE)
    routed.send(other, "one")


# --- what the walk of the run knows of them


class SlowStore(FaultyStore):
    """What is read in it is old by the time that it is known."""

    def __init__(self, store: RunStore, meanwhile: Callable[[], object]) -> None:
        super().__init__(store)
        self._meanwhile = meanwhile

    @contextmanager
    def begin(
        self, tenant_id: str, *, read_only: bool = False, durable: bool = True
    ) -> Generator[RunTransaction]:
        with super().begin(tenant_id, read_only=read_only, durable=durable) as tx:
            yield tx
        self._meanwhile()


def test_what_was_read_before_the_walk_took_its_job_back_is_no_news(routed: Routed):
    walk = routed.start(steps("ship:"))
    routed.send(walk, "ship")
    routed.factory.clock.pass_time(LOOK_AFTER)
    without = routed.factory.engine  # its type is routed no more
    begun = list[object]()
    slow = SlowStore(without.store, lambda: begun.append(begin_attempt(without, walk, "ship")))
    assert hear(replace(routed.engine, store=slow), walk, ["ship"]) == {}
    (claimed,) = begun
    assert isinstance(claimed, Begun)
    assert walk.jobs["ship"] == claimed.job


# --- what cannot be begun


def test_a_sent_job_whose_run_has_lost_its_plan_fails_of_that_at_once(routed: Routed):
    walk = routed.start(steps("ship:"))
    routed.send(walk, "ship")
    run = routed.put_down(walk)
    plan = routed.factory.run(run).plan
    assert plan is not None
    assert plan.reference is not None
    routed.factory.storage.delete(run.tenant_id, plan.reference.digest)
    flow_run_id = routed.deliver(run, "ship")
    assert begin_routed(routed.there, flow_run_id) is None
    job = routed.job(run, "ship")
    assert (job.status, job.losses) == (JobStatus.FAILED, 0)
    assert job.error is not None
    assert plan.reference.digest in job.error
    assert routed.is_due(run)
    assert begin_routed(routed.there, flow_run_id) is None
