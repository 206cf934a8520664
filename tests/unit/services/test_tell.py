"""Telling people: each target on its own, once, until it takes it or a day has passed."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.errors import (
    HostBusyError,
    HostRejectedError,
    InputError,
    PolicyUnavailableError,
)
from factory_runtime.domain.notice import Notice, Severity
from factory_runtime.domain.policy import NoticeRule
from factory_runtime.domain.records import EffectStatus, OutboxMessage
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.notifications.notifier import AppriseNotifier
from factory_runtime.ports import Notifier
from factory_runtime.services import topics
from factory_runtime.services.drain_outbox import HOLD, Drained, drain_outbox
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.engine import stop_walking
from factory_runtime.services.messages import leave_endings, leave_notice
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.send_notices import NoticeSender
from factory_runtime.services.tell import Teller
from tests.builders import NOON, TENANT, a_run, an_effect
from tests.factory import until
from tests.receivers import Board, WebReceiver, a_notice, web_receiver
from tests.small_factory import SmallFactory, fails, steps

PATIENCE = timedelta(seconds=20)


class Desk:
    """What tells, with a policy that a test writes."""

    def __init__(self, factory: SmallFactory, notifier: Notifier) -> None:
        self.factory = factory
        self.rules: dict[str, tuple[NoticeRule, ...]] = {}
        self.broken = False
        self.teller = Teller(factory.store, factory.storage, factory.clock, notifier, self._rules)
        self.sender = self.another_sender()

    def another_sender(self) -> NoticeSender:
        return NoticeSender(self.factory.store, self.factory.clock, self.teller, "here:1")

    def to(self, *names: str, kinds: tuple[str, ...] = ()) -> None:
        """Targets of these names, whose addresses are the same."""
        self.rules[TENANT] = tuple(NoticeRule(name, name, kinds) for name in names)

    def leave(self, *notices: Notice) -> None:
        for notice in notices:
            with self.factory.store.begin(notice.tenant_id) as tx:
                leave_notice(tx, notice)

    def send(self) -> Drained:
        return self.sender.send_due(PATIENCE)

    def orders(self) -> list[OutboxMessage]:
        """What is still to be sent."""
        return self.factory.messages(topics.SEND_NOTICE)

    def _rules(self, tenant_id: str) -> tuple[NoticeRule, ...]:
        if self.broken:
            raise PolicyUnavailableError("the policy cannot be read")
        return self.rules.get(tenant_id, ())


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def desk(factory: SmallFactory, board: Board) -> Generator[Desk]:
    made = Desk(factory, board)
    yield made
    made.sender.close()


def told(board: Board) -> list[tuple[str, str]]:
    return sorted((to, notice.key) for to, notice in board.sent)


# --- fan-out


def test_a_notice_goes_to_every_target_of_the_policy_once(desk: Desk, board: Board):
    desk.to("pager", "mail")
    desk.leave(a_notice(), a_notice())  # a transaction that was repeated
    assert desk.send() == Drained(done=3)
    desk.factory.clock.pass_time(timedelta(days=2))
    assert desk.send() == Drained()
    assert told(board) == [("mail", "dead-letter:abc"), ("pager", "dead-letter:abc")]


def test_what_was_sent_between_two_looks_is_told_by_the_second(desk: Desk, board: Board):
    desk.to("pager")
    desk.leave(a_notice())
    done = desk.sender.send_due().done
    until(lambda: bool(told(board)) and not desk.orders(), "nobody waited, and it was sent")
    assert done + desk.send().done == 2
    assert desk.send() == Drained()


def test_a_target_hears_only_of_the_kinds_it_wants(desk: Desk, board: Board):
    desk.to("pager", kinds=("run-stuck",))
    desk.leave(a_notice())
    desk.send()
    assert board.sent == []
    desk.to("pager", kinds=("run-stuck", "dead-letter"))
    desk.leave(a_notice(key="another"))
    desk.send()
    assert told(board) == [("pager", "another")]


def test_without_a_target_in_the_policy_it_goes_to_the_log(desk: Desk, board: Board):
    desk.leave(a_notice())
    desk.send()
    assert told(board) == [("log:", "dead-letter:abc")]


def test_a_tenants_notices_go_by_its_own_policy(desk: Desk, board: Board):
    desk.to("pager")
    desk.rules["umbrella"] = (NoticeRule("mail", "mail"),)
    desk.leave(a_notice(), a_notice(tenant_id="umbrella"))
    desk.send()
    assert sorted((to, notice.tenant_id) for to, notice in board.sent) == [
        ("mail", "umbrella"),
        ("pager", TENANT),
    ]


def test_a_policy_that_cannot_be_read_keeps_notices_waiting(desk: Desk, board: Board):
    desk.to("pager")
    desk.broken = True
    desk.leave(a_notice())
    assert desk.send() == Drained(failed=1)
    desk.broken = False
    desk.factory.clock.pass_time(timedelta(seconds=2))
    desk.send()
    assert told(board) == [("pager", "dead-letter:abc")]


# --- each target on its own


def test_a_target_that_refuses_is_tried_again_alone(desk: Desk, board: Board):
    desk.to("pager", "mail")
    board.refuse("pager")
    desk.leave(a_notice())
    assert desk.send() == Drained(done=2, failed=1)
    (left,) = desk.orders()
    assert (left.attempts, left.error) == (1, "HostBusyError: target pager: it answered 503")
    board.refusing.clear()
    desk.factory.clock.pass_time(timedelta(seconds=2))
    desk.send()
    assert told(board) == [("mail", "dead-letter:abc"), ("pager", "dead-letter:abc")]


def test_all_that_is_due_for_a_failing_target_rests_with_it_and_is_not_tried(
    desk: Desk, board: Board
):
    desk.to("pager")
    board.refuse("pager")
    desk.leave(*(a_notice(key=f"letter-{number}") for number in range(20)))
    assert desk.send() == Drained(done=20, failed=1)
    assert sorted(left.attempts for left in desk.orders()) == [0] * 19 + [1]
    assert desk.send() == Drained()
    rests: list[float] = []
    for _ in range(11):
        start = desk.factory.clock.at
        desk.factory.clock.at = max(left.not_before for left in desk.orders())
        rests.append((desk.factory.clock.at - start).total_seconds())
        desk.send()
    assert rests == sorted(rests)
    assert rests[-1] == 600
    board.refusing.clear()
    desk.factory.clock.pass_time(timedelta(minutes=10))
    assert desk.send() == Drained(done=20)
    assert sorted({notice.key for _, notice in board.sent}) == sorted(
        f"letter-{number}" for number in range(20)
    )


def test_one_notice_that_a_target_never_takes_stands_in_no_others_way(desk: Desk):
    class Picky(Board):
        def send(self, to: str, notice: Notice) -> None:
            if notice.key == "poison":
                raise HostBusyError("it answered 400")
            super().send(to, notice)

    picky = Picky()
    desk.teller = replace(desk.teller, notifier=picky)
    desk.sender = desk.another_sender()
    desk.to("pager")
    desk.leave(a_notice(key="poison"))
    for number in range(5):
        desk.send()
        desk.factory.clock.pass_time(timedelta(minutes=10))
        desk.leave(a_notice(key=f"letter-{number}"))
        desk.send()
        assert picky.sent[-1][1].key == f"letter-{number}"


def test_a_target_is_given_up_after_a_day_with_an_event_and_the_error(
    desk: Desk, board: Board, factory: SmallFactory
):
    factory.template(steps("a:"))
    run = factory.request()
    desk.to("pager")
    board.refuse("pager", InputError("the address makes no sense"))
    desk.leave(a_notice(run_id=run.id))
    tries = 0
    while factory.messages(topics.NOTICE) or desk.orders():
        desk.send()
        tries += 1
        factory.clock.pass_time(timedelta(minutes=10))
    assert tries == pytest.approx(24 * 6, abs=2)
    (event,) = factory.events(run, "notice-given-up")
    assert event.detail["target"] == "pager"
    assert event.detail["message"].endswith("target pager: the address makes no sense")
    assert desk.send() == Drained()


def given_up(desk: Desk, order: OutboxMessage) -> str | None:
    with desk.factory.store.begin(TENANT, read_only=True) as tx:
        stands = tx.find_message(order.id)
    assert stands is not None
    return stands.error if stands.done_at is not None else None


def test_a_target_is_asked_five_times_though_nobody_was_there_to_ask_it_for_days(
    desk: Desk, board: Board
):
    desk.to("pager")
    board.refuse("pager")
    desk.leave(a_notice())
    desk.send()
    (order,) = desk.orders()
    desk.factory.clock.pass_time(timedelta(days=3))  # nothing runs over the weekend
    for _ in range(3):
        assert desk.send() == Drained(failed=1)
        assert given_up(desk, order) is None
        desk.factory.clock.pass_time(timedelta(minutes=10))
    assert desk.send() == Drained(done=1)
    assert given_up(desk, order) == "given up after 5 tries: target pager: it answered 503"


def test_what_waited_for_a_week_is_given_up_however_seldom_it_was_tried(desk: Desk, board: Board):
    desk.to("pager")
    board.refuse("pager")
    desk.leave(*(a_notice(key=f"letter-{number}") for number in range(20)))
    desk.send()
    desk.factory.clock.pass_time(timedelta(days=7))
    assert desk.send() == Drained(done=20)
    assert desk.orders() == []


def test_a_target_that_the_policy_has_no_more_is_told_nothing(desk: Desk, board: Board):
    desk.to("pager")
    board.refuse("pager")
    desk.leave(a_notice())
    desk.send()
    desk.to("mail")
    desk.factory.clock.pass_time(timedelta(minutes=1))
    assert desk.send() == Drained(done=1)
    assert board.sent == []


def test_an_address_that_was_mended_is_used_for_what_waits(desk: Desk, board: Board):
    desk.to("pager")
    board.refuse("pager")
    desk.leave(a_notice())
    desk.send()
    desk.rules[TENANT] = (NoticeRule("pager", "elsewhere"),)
    desk.factory.clock.pass_time(timedelta(minutes=1))
    desk.send()
    assert told(board) == [("elsewhere", "dead-letter:abc")]


def test_no_row_and_no_error_has_an_address(desk: Desk, board: Board):
    place = "json://host/s3cr3tCanary"
    desk.rules[TENANT] = (NoticeRule("pager", place), NoticeRule("mail", "mail"))
    board.refuse(place, ValueError(f"cannot read {place}"))
    board.refuse("mail")
    desk.leave(a_notice())
    desk.send()
    orders = desk.orders()
    assert [order.error for order in orders] == [
        "HostBusyError: target pager: ValueError",
        "HostBusyError: target mail: it answered 503",
    ]
    assert "s3cr3t" not in repr(orders)


def test_much_for_a_slow_target_hides_nothing_for_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("factory_runtime.services.lanes._PAGE", 40)

    class Slow(Board):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = threading.Event()

        def send(self, to: str, notice: Notice) -> None:
            if to == "slow":
                assert self.go_on.wait(30)
            super().send(to, notice)

    slow = Slow()
    desk.teller = replace(desk.teller, notifier=slow)
    desk.sender = desk.another_sender()
    desk.to("slow")
    desk.leave(*(a_notice(key=f"letter-{number}") for number in range(90)))
    desk.sender.send_due()
    desk.to("slow", "quick")
    desk.factory.clock.pass_time()
    desk.leave(a_notice(key="last", at=desk.factory.clock.at))
    for _ in range(3):  # pages
        desk.sender.send_due()
    until(lambda: told(slow) == [("quick", "last")], "the quick one was told")
    slow.go_on.set()
    while desk.orders():
        desk.send()
    assert len(slow.sent) == 92


# --- at once, and killed


def test_two_drains_at_once_send_a_notice_once(desk: Desk, board: Board):
    desk.to("pager", "mail")
    desk.leave(*(a_notice(key=f"letter-{number}") for number in range(20)))
    senders = [desk.another_sender() for _ in range(3)]
    together = threading.Barrier(3)

    def work(sender: NoticeSender) -> Drained:
        together.wait()
        return sender.send_due(PATIENCE)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, senders))
    desk.send()
    assert told(board) == sorted(
        (to, f"letter-{number}") for to in ("pager", "mail") for number in range(20)
    )
    for sender in senders:
        sender.close()


def test_killed_between_sending_and_noting_it_is_sent_again_with_the_same_key(
    desk: Desk, board: Board
):
    class Killed(Board):
        def send(self, to: str, notice: Notice) -> None:
            board.send(to, notice)
            raise SystemExit

    desk.to("pager")
    desk.leave(a_notice())
    doomed = replace(desk.teller, notifier=Killed())
    drain_outbox(desk.factory.store, desk.factory.clock, {topics.NOTICE: doomed.fan_out}, "there:1")
    with pytest.raises(SystemExit):
        drain_outbox(
            desk.factory.store, desk.factory.clock, {topics.SEND_NOTICE: doomed.send}, "there:1"
        )
    assert desk.send() == Drained()  # it may still be at it
    desk.factory.clock.pass_time(HOLD)
    assert desk.send() == Drained(done=1)
    assert told(board) == [("pager", "dead-letter:abc")] * 2


@pytest.fixture
def web() -> Generator[WebReceiver]:
    with web_receiver() as receiver:
        yield receiver


def test_a_target_that_hangs_delays_neither_another_target_nor_the_rest_of_the_outbox(
    factory: SmallFactory, web: WebReceiver, tmp_path: Path
):
    desk = Desk(factory, AppriseNotifier(tmp_path / "log", patience=timedelta(seconds=8)))
    hanging, well = NoticeRule("a", web.address("/hang")), NoticeRule("b", web.address("/well"))
    desk.rules[TENANT] = (hanging, well)
    desk.leave(*(a_notice(key=f"letter-{number}") for number in range(3)))
    with factory.store.begin(TENANT) as tx:
        leave_notice(tx, a_notice(key="event"))
    desk.sender.send_due()
    for _ in range(5):  # one that is not answered, four that are
        assert web.arrived.acquire(timeout=30)
    paths = [request.path for request in web.requests]
    assert (paths.count("/hang"), paths.count("/well")) == (1, 4)
    # One who drains meanwhile finds the hanging one in other hands, and is done at once.
    seen: list[str] = []

    def note(message: OutboxMessage) -> None:
        seen.append(message.key)

    drain_outbox(factory.store, factory.clock, {topics.PREFECT_EVENT: note}, "there:1")
    assert len(seen) == 4
    web.over.set()
    desk.sender.send_due(PATIENCE)
    desk.sender.close()


def test_a_refused_notice_is_delivered_when_it_is_tried_again(
    factory: SmallFactory, web: WebReceiver, tmp_path: Path
):
    desk = Desk(factory, AppriseNotifier(tmp_path / "log"))
    desk.rules[TENANT] = (NoticeRule("web", web.address()),)
    web.answers = [503]
    desk.leave(a_notice())
    assert desk.send() == Drained(done=1, failed=1)
    factory.clock.pass_time(timedelta(seconds=2))
    assert desk.send() == Drained(done=1)
    assert web.keys == ["dead-letter:abc"] * 2


# --- the end of a run


def test_every_end_of_a_run_is_told_with_what_became_of_it(
    desk: Desk, board: Board, factory: SmallFactory
):
    factory.on["a"] = fails(ValueError("boom"))
    desk.to("pager", kinds=("run-complete",))
    run = factory.complete(steps("a: retry: {max_attempts: 1}"))
    desk.send()
    ((_, notice),) = board.sent
    assert notice.severity is Severity.FAILURE
    assert notice.title == f"demo {run.id} Failed (1 job failed)"
    assert "a (act, 1 attempt): ValueError: boom" in notice.body
    assert f"factory runs retry {run.id} --tenant {TENANT}" in notice.body


def test_each_cycle_of_a_run_is_told_and_none_that_is_over(
    desk: Desk, board: Board, factory: SmallFactory
):
    factory.on["a"] = fails(ValueError("boom"), times=1)
    desk.to("pager", kinds=("run-complete",))
    walk = factory.start(steps("a: retry: {max_attempts: 1}"))
    run = factory.drive(walk)
    stop_walking(factory.engine, walk)
    retry_run(factory.store, factory.clock, run.tenant_id, run.id, "ada")
    desk.send()  # it is sent round again by now
    assert board.sent == []
    factory.drive(factory.take_up(run))
    desk.send()
    assert [notice.title for _, notice in board.sent] == [f"demo {run.id} Succeeded"]


def test_of_many_runs_that_fail_alike_in_an_hour_the_most_are_told_of_together(
    desk: Desk, board: Board, factory: SmallFactory
):
    factory.clock.at = factory.clock.at.replace(minute=0)
    desk.to("pager", kinds=("run-complete",))
    step = steps("a: with: {}", "z: with: {}")
    factory.on["a"] = factory.on["z"] = fails(HostRejectedError("the disk of <host> is full"))
    runs = [fail_one(factory, step) for _ in range(23)]
    factory.on["a"] = factory.on["z"] = fails(HostRejectedError("no such branch"))
    other = fail_one(factory, step)
    factory.on["a"] = factory.on["z"] = lambda _c, _w: JobResult()
    well = fail_one(factory, step)
    assert desk.send().failed == 0
    told_of = [notice.run_id for _, notice in board.sent]
    assert sorted(map(str, told_of)) == sorted(run.id for run in [*runs[:20], other, well])
    board.sent.clear()
    factory.clock.at = factory.clock.at.replace(minute=0, second=0) + timedelta(hours=1)
    for _ in range(2):
        desk.send()
    ((_, together),) = board.sent
    assert together.title == "23 runs of demo failed alike in the hour from 2026-11-21 12:00 UTC"
    assert "a (act): host-rejected: the disk of <host> is full" in together.body
    assert f"--canary --tenant {TENANT}" in together.body
    assert (together.facts["runs"], together.severity) == (23, Severity.FAILURE)


def test_another_hour_begins_to_tell_of_them_one_by_one_again(
    desk: Desk, board: Board, factory: SmallFactory
):
    factory.on["a"] = fails(HostRejectedError("the disk is full"))
    desk.to("pager", kinds=("run-complete",))
    for _ in range(21):
        fail_one(factory, steps("a: with: {}"))
    factory.clock.pass_time(timedelta(hours=1))
    last = fail_one(factory, steps("a: with: {}"))
    desk.send()
    assert len(board.sent) == 22
    assert last.id in {notice.run_id for _, notice in board.sent}


def fail_one(factory: SmallFactory, text: str) -> Run:
    """A run that has ended, a second before the next."""
    factory.template(text)
    run = factory.request()
    walk = factory.take_up(run, f"flow-{run.id}")
    ended = factory.drive(walk)
    stop_walking(factory.engine, walk)
    factory.clock.pass_time()
    return ended


def test_a_cancelled_run_is_told_with_who_did_it(desk: Desk, board: Board, factory: SmallFactory):
    factory.template(steps("a:"))
    run = factory.request()
    cancel_run(factory.store, factory.clock, run.tenant_id, run.id, "ada")
    desk.send()
    ((_, notice),) = board.sent
    assert (notice.severity, notice.body) == (Severity.WARNING, "cancelled by ada")


def test_the_end_of_an_undo_is_told_once_it_is_known_what_it_left(
    desk: Desk, board: Board, factory: SmallFactory
):
    undone = a_run(status=RunStatus.FAILED, completed_at=NOON)
    undoing = a_run(status=RunStatus.SUCCEEDED, undoes=undone.id, completed_at=NOON)
    effect = an_effect(undone, status=EffectStatus.CONFIRMED)
    with factory.store.begin(TENANT) as tx:
        tx.add_run(undone)
        tx.add_run(undoing)
        tx.intend_effect(effect)
        leave_endings(tx, undoing, NOON)
    assert desk.send() == Drained(failed=1)
    with factory.store.begin(TENANT) as tx:
        tx.settle_effect(
            effect.effect_key, effect.kind, EffectStatus.UNDONE, NOON, undone_by=undoing.id
        )
    factory.clock.pass_time(timedelta(seconds=2))
    desk.send()
    assert [notice.title for _, notice in board.sent] == [
        f"microservice {undoing.id} Succeeded: of {undone.id} undone: 1, left: 0"
    ]
