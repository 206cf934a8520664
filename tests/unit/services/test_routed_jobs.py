"""Jobs that go to another queue: sent once, claimed there, and closed by the walk of their run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import ConflictError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.result import JobResult, WaitUntil
from factory_runtime.domain.run import RunStatus
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.end_run import cancel_run, close_run_if_done
from factory_runtime.services.engine import keep_walking, stop_walking
from factory_runtime.services.pause_run import pause_run, resume_run
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.routed_job import begin_routed, leave_routed, sweep_routed
from factory_runtime.services.run_attempt import publish_attempt
from factory_runtime.services.send_job import LOOK_AFTER, hear
from factory_runtime.services.sweep import sweep
from factory_runtime.services.take_back import LOSSES
from tests.faults import FaultyStore, Point
from tests.records import Record, record_of
from tests.routed import PLACE, Routed
from tests.small_factory import SUCCEEDED, THRICE, FlowRuns, SmallFactory, busy, fails, gives, steps
from tests.undoing import UndoFactory

ONE = steps("ship:")
TWO = steps("ship:", "tell: needs: [ship], with: {text: '${{ steps.ship.outputs.text }}'}")


@pytest.fixture
def routed(factory: SmallFactory) -> Routed:
    return Routed(factory)


def test_a_sent_job_holds_no_process_and_its_run_goes_on_with_what_it_gave(routed: Routed):
    routed.factory.on["ship"] = gives(text="hello")
    walk = routed.start(TWO)
    routed.send(walk, "ship")
    sent = routed.job(walk.run, "ship")
    assert (sent.status, sent.lease_owner, sent.attempt) == (JobStatus.WAITING, None, 0)
    run = routed.put_down(walk)
    assert not routed.is_due(run)
    flow_run_id = routed.deliver(run, "ship")
    assert routed.do(flow_run_id) == SUCCEEDED
    assert routed.factory.run(run).status is RunStatus.WAITING
    assert routed.is_due(run)
    again = routed.take_up(run)
    assert again.outputs["ship"] == {"text": "hello"}
    routed.send(again, "tell")
    assert routed.do(routed.deliver(run, "tell")) == SUCCEEDED
    assert hear(routed.engine, again, ["tell"]) == {"tell": None}
    assert close_run_if_done(routed.engine, again).status is RunStatus.SUCCEEDED
    assert routed.factory.moves(run, "ship") == ["Waiting", "Running", "Succeeded"]
    (attempt,) = routed.factory.attempts(run, "ship")
    assert (attempt.number, attempt.worker) == (1, "elsewhere:7")


def test_a_living_walk_hears_of_the_end_by_the_run_s_version(routed: Routed):
    walk = routed.start(TWO)
    routed.send(walk, "ship")
    before = routed.factory.run(walk.run).version
    routed.do(routed.deliver(walk.run, "ship"))
    assert routed.factory.run(walk.run).version > before
    assert hear(routed.engine, walk, ["ship"]) == {"ship": None}
    assert walk.endings == {"ship": SUCCEEDED}
    assert hear(routed.engine, walk, ["ship"]) == {}


def test_of_two_flow_runs_for_a_job_one_works_and_the_other_has_nothing_to_do(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    flow_run_id = routed.deliver(walk.run, "ship")
    first, second = routed.walk_there(flow_run_id), routed.walk_there(flow_run_id)
    assert isinstance(begun := begin_attempt(routed.there, first, "ship"), Begun)
    assert routed.job(walk.run, "ship").phrase is None, "it waits for no worker any more"
    with pytest.raises(ConflictError):
        begin_attempt(routed.there, second, "ship")
    assert leave_routed(routed.there, second, flow_run_id).status is JobStatus.RUNNING
    assert begin_routed(routed.there, flow_run_id) is None
    assert publish_attempt(routed.there, first, begun, None) == SUCCEEDED
    assert begin_routed(routed.there, flow_run_id) is None
    assert begin_routed(routed.there, "a flow run that somebody has started by hand") is None


def test_sending_once_more_what_waits_asks_for_no_other_flow_run(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    walk.jobs["ship"] = replace(walk.jobs["ship"], routed_to=None, not_before=None)
    routed.send(walk, "ship")
    assert routed.asked() == 1


def test_a_lost_worker_s_job_is_sent_again_and_counts_as_everywhere(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    there = routed.walk_there(routed.deliver(walk.run, "ship"))
    begin_attempt(routed.there, there, "ship")
    run = routed.put_down(walk)
    routed.factory.clock.pass_time(routed.there.lease)
    assert sweep(routed.factory.store, routed.factory.clock).jobs == 1
    job = routed.job(run, "ship")
    assert (job.status, job.losses, job.routed_to) == (JobStatus.PENDING, 1, None)
    assert routed.is_due(run)
    again = routed.take_up(run)
    routed.send(again, "ship")
    assert routed.do(routed.deliver(run, "ship")) == SUCCEEDED
    outcomes = [attempt.outcome for attempt in routed.factory.attempts(run, "ship")]
    assert outcomes == [Outcome.LOST, Outcome.SUCCEEDED]


def test_a_job_at_work_elsewhere_is_left_to_its_worker_by_who_takes_the_run_up(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    there = routed.walk_there(routed.deliver(walk.run, "ship"))
    begun = begin_attempt(routed.there, there, "ship")
    assert isinstance(begun, Begun)
    run = routed.put_down(walk)
    routed.factory.clock.pass_time(timedelta(seconds=45))
    assert keep_walking(routed.there, there)
    routed.factory.clock.pass_time(timedelta(seconds=45))
    assert sweep(routed.factory.store, routed.factory.clock).jobs == 0
    again = routed.take_up(routed.wake(run))
    assert again.jobs["ship"].status is JobStatus.RUNNING
    routed.send(again, "ship")
    assert (again.jobs["ship"].status, routed.asked()) == (JobStatus.RUNNING, 1)
    assert publish_attempt(routed.there, there, begun, None) == SUCCEEDED
    assert hear(routed.engine, again, ["ship"]) == {"ship": None}


def test_a_worker_that_has_lost_its_job_hears_of_it_and_writes_nothing(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    there = routed.walk_there(routed.deliver(walk.run, "ship"))
    begun = begin_attempt(routed.there, there, "ship")
    assert isinstance(begun, Begun)
    routed.factory.clock.pass_time(routed.there.lease)
    sweep(routed.factory.store, routed.factory.clock)
    assert not keep_walking(routed.there, there)
    with pytest.raises(ConflictError):
        publish_attempt(routed.there, there, begun, None)


def test_a_failure_there_is_one_of_the_job_s_and_it_is_sent_again_when_it_may(routed: Routed):
    routed.factory.on["ship"] = fails(busy(), times=1)
    walk = routed.start(steps(f"ship: {THRICE}"))
    routed.send(walk, "ship")
    run = routed.put_down(walk)
    failed = routed.do(routed.deliver(run, "ship"))
    assert isinstance(failed, AnotherAttempt)
    job = routed.job(run, "ship")
    assert (job.status, job.failures, job.routed_to) == (JobStatus.PENDING, 1, None)
    assert routed.factory.run(run).wake_at == failed.not_before
    routed.factory.clock.at = failed.not_before
    again = routed.take_up(run)
    routed.send(again, "ship")
    assert routed.do(routed.deliver(run, "ship")) == SUCCEEDED
    assert [a.number for a in routed.factory.attempts(run, "ship")] == [1, 2]


def test_a_job_out_of_attempts_elsewhere_is_a_dead_letter_and_goes_there_again(routed: Routed):
    routed.factory.on["ship"] = fails(busy(), times=1)
    walk = routed.start(steps("ship: retry: {max_attempts: 1}"))
    routed.send(walk, "ship")
    routed.do(routed.deliver(walk.run, "ship"))
    hear(routed.engine, walk, ["ship"])
    assert close_run_if_done(routed.engine, walk).status is RunStatus.FAILED
    stop_walking(routed.engine, walk)
    retry_run(routed.factory.store, routed.factory.clock, walk.run.tenant_id, walk.run.id, "ada")
    again = routed.take_up(walk.run)
    routed.send(again, "ship")
    assert routed.do(routed.deliver(walk.run, "ship")) == SUCCEEDED


def test_a_wait_of_the_type_s_own_is_waited_out_by_the_walk_of_the_run(routed: Routed):
    due = routed.factory.clock.at + timedelta(hours=1)
    said: list[WaitUntil | JobResult] = [WaitUntil(due, "for the build"), JobResult()]
    routed.factory.on["ship"] = lambda _context, _with: said.pop(0)
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    routed.do(routed.deliver(walk.run, "ship"))
    job = routed.job(walk.run, "ship")
    assert (job.status, job.routed_to, job.not_before) == (JobStatus.WAITING, None, due)
    later = hear(routed.engine, walk, ["ship"])["ship"]
    assert later is not None
    assert later.not_before == due
    routed.factory.clock.at = due
    routed.send(walk, "ship")
    assert routed.do(routed.deliver(walk.run, "ship")) == SUCCEEDED


# --- steered


def test_a_cancelled_run_ends_at_once_and_what_is_done_elsewhere_is_not_written(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    flow_run_id = routed.deliver(walk.run, "ship")
    there = routed.walk_there(flow_run_id)
    begun = begin_attempt(routed.there, there, "ship")
    assert isinstance(begun, Begun)
    run = routed.put_down(walk)
    cancel_run(routed.factory.store, routed.factory.clock, run.tenant_id, run.id, "ada")
    assert routed.statuses(run) == {"ship": JobStatus.CANCELLED}
    with pytest.raises(ConflictError):
        publish_attempt(routed.there, there, begun, None)
    assert leave_routed(routed.there, there, flow_run_id).status is JobStatus.CANCELLED
    assert begin_routed(routed.there, flow_run_id) is None


def test_a_flow_run_that_somebody_cancels_in_prefect_cancels_the_run(routed: Routed):
    prefect = FlowRuns()
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    flow_run_id = routed.deliver(walk.run, "ship")
    prefect.cancelled.add(flow_run_id)
    prefect.made["ship"] = flow_run_id
    run = routed.put_down(walk)
    assert sweep_routed(routed.factory.store, routed.factory.clock, prefect) == 1
    assert routed.factory.run(run).status is RunStatus.CANCELLED
    assert routed.factory.run(run).error == "cancelled by somebody in Prefect"
    assert sweep_routed(routed.factory.store, routed.factory.clock, prefect) == 0


def test_a_paused_run_s_job_is_not_begun_and_is_sent_again_when_it_goes_on(routed: Routed):
    store, clock = routed.factory.store, routed.factory.clock
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    flow_run_id = routed.deliver(walk.run, "ship")
    run = routed.put_down(walk)
    assert pause_run(store, clock, run.tenant_id, run.id, "ada").status is RunStatus.PAUSED
    assert begin_routed(routed.there, flow_run_id) is None
    assert routed.job(run, "ship").routed_to is None
    resume_run(store, clock, run.tenant_id, run.id, "ada")
    again = routed.take_up(run)
    routed.send(again, "ship")
    assert routed.do(routed.deliver(run, "ship")) == SUCCEEDED


def test_a_worker_that_has_to_end_gives_its_job_back(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    flow_run_id = routed.deliver(walk.run, "ship")
    there = routed.walk_there(flow_run_id)
    begin_attempt(routed.there, there, "ship")
    run = routed.put_down(walk)
    back = leave_routed(routed.there, there, flow_run_id)
    assert (back.status, back.losses, back.routed_to) == (JobStatus.PENDING, 0, None)
    assert routed.is_due(run)
    (attempt,) = routed.factory.attempts(run, "ship")
    assert attempt.outcome is Outcome.SUSPENDED


def test_what_ends_while_the_walk_puts_its_run_down_is_gone_on_with_at_once(routed: Routed):
    walk = routed.start(TWO)
    routed.send(walk, "ship")
    routed.do(routed.deliver(walk.run, "ship"))
    run = routed.put_down(walk)  # it has not heard of it
    assert routed.is_due(run)


# --- lost on the way


def test_a_flow_run_that_is_gone_before_it_claimed_is_made_anew_later_and_later(routed: Routed):
    clock, prefect = routed.factory.clock, FlowRuns()
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    run = routed.put_down(walk)
    waits: list[timedelta] = []
    for losses in range(1, LOSSES):
        flow_run_id = routed.deliver(run, "ship")
        assert sweep_routed(routed.factory.store, clock, prefect) == 0
        job = routed.job(run, "ship")
        assert (job.status, job.losses, job.routed_flow_run_id) == (JobStatus.WAITING, losses, None)
        assert begin_routed(routed.there, flow_run_id) is None
        waits.append(
            max(m.not_before for m in routed.factory.messages("prefect.send-job")) - clock.at
        )
    assert waits == sorted(set(waits))
    routed.deliver(run, "ship")
    sweep_routed(routed.factory.store, clock, prefect)
    assert routed.job(run, "ship").status is JobStatus.FAILED
    assert routed.is_due(run)
    assert close_run_if_done(routed.engine, routed.take_up(run)).status is RunStatus.FAILED


def test_one_that_lies_in_its_queue_is_let_be(routed: Routed):
    prefect = FlowRuns()
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    prefect.made["ship"] = flow_run_id = routed.deliver(walk.run, "ship")
    sweep_routed(routed.factory.store, routed.factory.clock, prefect)
    job = routed.job(walk.run, "ship")
    assert (job.losses, job.routed_flow_run_id, routed.asked()) == (0, flow_run_id, 1)


def test_where_no_route_is_set_what_was_sent_stays_where_it_is_until_its_time(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    old = routed.deliver(walk.run, "ship")
    run = routed.put_down(walk)
    without = routed.factory.engine
    again = routed.factory.take_up(routed.wake(run), "flow-1", without)
    assert isinstance(begin_attempt(without, again, "ship"), AnotherAttempt)
    assert routed.job(run, "ship").routed_to == PLACE
    routed.factory.clock.pass_time(LOOK_AFTER)
    assert isinstance(begun := begin_attempt(without, again, "ship"), Begun)
    assert begin_routed(routed.there, old) is None
    assert publish_attempt(without, again, begun, None) == SUCCEEDED


def test_after_its_time_it_is_asked_for_once_more_and_names_the_flow_run_before(routed: Routed):
    walk = routed.start(ONE)
    routed.send(walk, "ship")
    old = routed.deliver(walk.run, "ship")
    routed.factory.clock.pass_time(LOOK_AFTER)
    routed.send(walk, "ship")
    messages = routed.factory.messages("prefect.send-job")
    assert [message.payload["instead_of"] for message in messages] == [None, old]
    assert len({message.key for message in messages}) == 2
    assert begin_routed(routed.there, old) is None


# --- with the rest


def test_items_are_sent_one_by_one_and_come_back_in_any_order(routed: Routed):
    each = "each: \"${{ ['a', 'b'] }}\", with: {text: '${{ item }}'}"
    walk = routed.start(steps(f"ship: {each}", "tell: needs: [ship]"))
    for name in ("ship[a]", "ship[b]"):
        routed.send(walk, name)
    assert routed.asked() == 2
    for name in ("ship[b]", "ship[a]"):
        assert routed.do(routed.deliver(walk.run, name)) == SUCCEEDED
    hear(routed.engine, walk, list(walk.jobs))
    assert {name: given["text"] for name, given in walk.outputs.items()} == {
        "ship[a]": "a",
        "ship[b]": "b",
    }
    assert routed.factory.ready(walk) == ["tell"]


def test_what_undoes_is_sent_along_the_route_of_its_type(tmp_path: Path):
    factory = UndoFactory(tmp_path / "templates")
    run = factory.made()
    routed = Routed(factory, "layer")
    walk = factory.took(factory.undo(run), routed.engine)
    while ready := factory.ready(walk):
        if walk.jobs[ready[0]].type == "layer":
            routed.send(walk, ready[0])
            routed.do(routed.deliver(walk.run, ready[0]))
            hear(routed.engine, walk, ready[:1])
        else:
            factory.finish(walk, ready[0], routed.engine)
    assert routed.asked() == 3
    assert close_run_if_done(routed.engine, walk).status is RunStatus.SUCCEEDED
    assert set(factory.ledger(run).values()) == {EffectStatus.UNDONE}
    assert factory.repository(run) is None
    factory.store.close()


def test_of_jobs_under_a_cap_only_so_many_are_sent(factory: SmallFactory):
    routed = Routed(factory, act=1)
    walk = routed.start(steps("one:", "two:"))
    routed.send(walk, "one")
    in_line = begin_attempt(routed.engine, walk, "two")
    assert isinstance(in_line, AnotherAttempt)
    assert routed.job(walk.run, "two").routed_to is None
    there = routed.walk_there(routed.deliver(walk.run, "one"))
    begun = begin_attempt(routed.there, there, "one")
    assert isinstance(begun, Begun)
    assert isinstance(begin_attempt(routed.engine, walk, "two"), AnotherAttempt)
    assert routed.job(walk.run, "two").routed_to is None
    publish_attempt(routed.there, there, begun, None)
    routed.send(walk, "two")
    assert routed.do(routed.deliver(walk.run, "two")) == SUCCEEDED


def test_one_that_finds_no_room_there_goes_back_into_the_line(factory: SmallFactory):
    routed = Routed(factory, act=1)
    walk = routed.start(steps("one:", "two:"))
    routed.send(walk, "one")
    factory.clock.pass_time(timedelta(minutes=1))  # nobody sees any more that it comes first
    routed.send(walk, "two")
    first, second = (routed.deliver(walk.run, name) for name in ("one", "two"))
    there = routed.walk_there(first)
    assert isinstance(begin_attempt(routed.there, there, "one"), Begun)
    assert isinstance(routed.do(second), AnotherAttempt)
    back = routed.job(walk.run, "two")
    assert (back.status, back.routed_to, back.attempt) == (JobStatus.WAITING, None, 0)


# --- a store that goes away


def through(folder: Path, at: Mapping[int, tuple[Point, int]]) -> tuple[Record, FaultyStore]:
    """A run whose one job is sent twice, on a store that fails there; its record."""
    factory = SmallFactory(folder)
    store = FaultyStore(factory.store, at=at)
    routed = Routed(factory)
    routed.engine = replace(routed.engine, store=store)
    routed.there = replace(routed.there, store=store)
    factory.on["ship"] = fails(busy(), times=1)
    walk = routed.start(steps(f"ship: {THRICE}"))
    routed.send(walk, "ship")
    run = routed.put_down(walk)
    failed = routed.do(routed.deliver(run, "ship"))
    assert isinstance(failed, AnotherAttempt)
    factory.clock.at = failed.not_before
    again = routed.take_up(run)
    routed.send(again, "ship")
    assert routed.do(routed.deliver(run, "ship")) == SUCCEEDED
    hear(routed.engine, again, ["ship"])
    assert close_run_if_done(routed.engine, again).status is RunStatus.SUCCEEDED
    record = record_of(factory, run)
    factory.store.close()
    return record, store


@pytest.mark.parametrize("point", ["commit", "answer"])
def test_a_store_that_is_away_at_any_moment_leaves_the_same_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: Point
):
    monkeypatch.setattr("factory_runtime.services.steadily._FIRST_WAIT", 0.0)
    undisturbed, store = through(tmp_path / "undisturbed", {})
    assert len(store.statements) > 8
    for number in range(1, len(store.statements) + 1):
        record, faulty = through(tmp_path / str(number), {number: (point, 2)})
        assert faulty.fired[point] == 1
        assert record == undisturbed, f"transaction {number}"
