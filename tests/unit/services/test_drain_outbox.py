"""Doing what commits left to be done: at least once, for good, and not by two at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event

import pytest

from factory_runtime.domain.errors import HostBusyError
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.services.drain_outbox import HOLD, Drained, Handler, Together, drain_outbox
from tests.builders import TENANT, a_message, after
from tests.small_factory import SmallFactory

TOPIC = "run.finished"


def leave(factory: SmallFactory, *messages: OutboxMessage) -> None:
    for message in messages:
        with factory.store.begin(message.tenant_id) as tx:
            tx.add_message(message)


def drain(factory: SmallFactory, handler: Handler, holder: str = "here:1") -> Drained:
    return drain_outbox(factory.store, factory.clock, {TOPIC: handler}, holder)


def stands(factory: SmallFactory, message: OutboxMessage) -> OutboxMessage:
    with factory.store.begin(message.tenant_id, read_only=True) as tx:
        found = tx.find_message(message.id)
    assert found is not None
    return found


def nothing(_message: OutboxMessage) -> None:
    pass


def broken(_message: OutboxMessage) -> None:
    raise RuntimeError("no")


def test_a_due_message_is_handled_once_and_stays_done(factory: SmallFactory):
    message = a_message()
    leave(factory, message)
    seen: list[OutboxMessage] = []
    factory.clock.pass_time()
    assert drain(factory, seen.append) == Drained(done=1)
    assert seen == [message]
    factory.clock.pass_time(timedelta(days=1))
    assert drain(factory, seen.append) == Drained()
    done = stands(factory, message)
    assert (done.done_at, done.attempts, done.error) == (after(1), 1, None)


def test_messages_of_every_tenant_are_handled_oldest_first(factory: SmallFactory):
    old, new = a_message(created_at=after(-9), tenant_id="other"), a_message()
    leave(factory, new, old)
    seen: list[str] = []
    drain(factory, lambda message: seen.append(message.id))
    assert seen == [old.id, new.id]


def test_a_message_that_is_not_due_waits(factory: SmallFactory):
    leave(factory, a_message(not_before=after(5)))
    assert drain(factory, nothing) == Drained()
    factory.clock.pass_time(timedelta(seconds=5))
    assert drain(factory, nothing) == Drained(done=1)


def test_every_due_message_is_handled_however_many_there_are(factory: SmallFactory):
    leave(factory, *(a_message() for _ in range(205)))
    assert drain(factory, nothing) == Drained(done=205)
    assert factory.messages() == []


def test_a_message_of_a_topic_that_nobody_handles_is_left_for_another_drain(factory: SmallFactory):
    other = a_message(topic="another.topic", created_at=after(-1))
    leave(factory, other, a_message())
    assert drain(factory, nothing) == Drained(done=1)
    assert stands(factory, other) == other


def test_a_failing_message_is_retried_ever_more_slowly_and_never_given_up(factory: SmallFactory):
    message = a_message()
    leave(factory, message)
    waits: list[float] = []
    for _ in range(14):
        assert drain(factory, broken) == Drained(failed=1)
        again = stands(factory, message)
        waits.append((again.not_before - factory.clock.at).total_seconds())
        assert drain(factory, broken) == Drained()
        factory.clock.at = again.not_before
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, *[600] * 5]
    left = stands(factory, message)
    assert (left.attempts, left.error) == (14, "RuntimeError: no")
    assert drain(factory, nothing) == Drained(done=1)
    assert stands(factory, message).error is None


def test_one_failing_message_does_not_hold_up_the_others(factory: SmallFactory):
    bad, good = a_message(created_at=after(-1)), a_message()
    leave(factory, bad, good)

    def handle(message: OutboxMessage) -> None:
        if message.id == bad.id:
            raise ValueError("this one")

    assert drain(factory, handle) == Drained(done=1, failed=1)
    assert stands(factory, good).done_at is not None


def test_a_handler_that_takes_longer_than_the_wait_does_not_keep_the_drain_for_ever(
    factory: SmallFactory,
):
    def slow(_message: OutboxMessage) -> None:
        factory.clock.pass_time(timedelta(minutes=1))
        raise RuntimeError("down")

    leave(factory, *(a_message() for _ in range(3)))
    assert drain(factory, slow) == Drained(failed=3)


def test_a_handler_may_write_to_the_store_and_leave_new_messages(factory: SmallFactory):
    first, second = a_message(), a_message()
    leave(factory, first)
    seen: list[str] = []

    def handle(message: OutboxMessage) -> None:
        seen.append(message.id)
        if message.id == first.id:
            leave(factory, second)

    drain(factory, handle)
    drain(factory, handle)
    assert seen == [first.id, second.id]


@pytest.mark.parametrize("holders", [("here:1", "there:2"), ("here:1", "here:1")])
def test_two_drains_at_once_handle_a_message_once(factory: SmallFactory, holders: tuple[str, str]):
    # Two threads of one process carry the same name: a hook's drain and the dispatcher's.
    messages = [a_message() for _ in range(20)]
    leave(factory, *messages)
    seen: list[str] = []
    together = Barrier(2)

    def work(holder: str) -> Drained:
        together.wait()
        return drain(factory, lambda message: seen.append(message.id), holder)

    with ThreadPoolExecutor(2) as pool:
        did = list(pool.map(work, holders))
    assert sorted(seen) == sorted(message.id for message in messages)
    assert sum(one.done for one in did) == 20


def test_a_message_in_another_drains_hands_is_left_to_it(factory: SmallFactory):
    leave(factory, a_message())
    begun, finish = Event(), Event()

    def slow(_message: OutboxMessage) -> None:
        begun.set()
        assert finish.wait(10)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(drain, factory, slow)
        assert begun.wait(10)
        assert drain(factory, nothing) == Drained()
        finish.set()
        assert first.result(10) == Drained(done=1)


def test_who_looked_before_a_message_was_done_does_not_do_it_again(factory: SmallFactory):
    first, second = a_message(created_at=after(-1)), a_message()
    leave(factory, first, second)
    seen: list[str] = []

    def overtaken(message: OutboxMessage) -> None:
        seen.append(message.id)
        if message.id == first.id:
            drain(factory, lambda other: seen.append(other.id), "there:2")

    drain(factory, overtaken)
    assert sorted(seen) == sorted([first.id, second.id])


def test_a_killed_drains_message_is_free_after_its_hold(factory: SmallFactory):
    message = a_message()
    leave(factory, message)

    def killed(_message: OutboxMessage) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        drain(factory, killed)
    factory.clock.pass_time(HOLD - timedelta(seconds=1))
    assert drain(factory, nothing) == Drained()
    factory.clock.pass_time()
    assert drain(factory, nothing) == Drained(done=1)
    assert stands(factory, message).attempts == 1


def test_no_lock_is_left_behind(factory: SmallFactory):
    good, bad = a_message(), a_message()
    leave(factory, good, bad)

    def handle(message: OutboxMessage) -> None:
        if message.id == bad.id:
            raise ValueError("no")

    drain(factory, handle)
    with factory.store.begin(TENANT, read_only=True) as tx:
        for message in (good, bad):
            assert tx.find_lock_holder(f"outbox:{message.id}", factory.clock.now()) is None


def test_messages_that_another_drain_handles_do_not_hide_those_of_this_one(factory: SmallFactory):
    others = [a_message(topic="prefect.show-run", created_at=after(-9)) for _ in range(101)]
    message = a_message()
    leave(factory, *others, message)
    assert drain(factory, nothing) == Drained(done=1)
    assert stands(factory, message).done_at is not None


def some(factory: SmallFactory) -> list[OutboxMessage]:
    """Three messages that are due, of two tenants."""
    messages = [a_message(), a_message(), a_message(tenant_id="other")]
    leave(factory, *messages)
    factory.clock.pass_time()
    return messages


def test_what_is_handled_together_is_handled_at_once(factory: SmallFactory):
    messages = some(factory)
    seen: list[set[str]] = []
    taking = Together(lambda these: seen.append({one.id for one in these}))
    assert drain(factory, taking) == Drained(done=3)
    assert seen == [{message.id for message in messages}]
    assert drain(factory, taking) == Drained()


def test_one_that_is_past_helping_does_not_hinder_those_it_comes_with(factory: SmallFactory):
    bad, *good = some(factory)

    def refuse(these: Sequence[OutboxMessage]) -> None:
        if bad.id in {one.id for one in these}:
            raise ValueError("no")

    assert drain(factory, Together(refuse)) == Drained(done=2, failed=1)
    assert stands(factory, bad).error == "ValueError: no"
    assert all(stands(factory, one).done_at for one in good)


def test_while_nobody_answers_only_one_question_is_asked(factory: SmallFactory):
    messages = some(factory)
    asked: list[int] = []

    def away(these: Sequence[OutboxMessage]) -> None:
        asked.append(len(these))
        raise HostBusyError("no")

    assert drain(factory, Together(away)) == Drained(failed=3)
    assert asked == [3]
    assert {stands(factory, one).error for one in messages} == {"HostBusyError: no"}


def test_what_another_drain_has_is_left_to_it(factory: SmallFactory):
    theirs, *ours = some(factory)
    now = factory.clock.now()
    with factory.store.begin(theirs.tenant_id) as tx:
        assert tx.try_lock(f"outbox:{theirs.id}", "elsewhere:1", now, now + HOLD)
    seen: list[str] = []
    taking = Together(lambda these: seen.extend(one.id for one in these))
    assert drain(factory, taking) == Drained(done=2)
    assert set(seen) == {one.id for one in ours}
