"""Do what commits left to be done: each message at least once, its handler idempotent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.locks import take_lock

Handler = Callable[[OutboxMessage], None]

HOLD = timedelta(minutes=5)
"""How long one drain keeps a message to itself; a killed one's message is free after that."""

_LONGEST_WAIT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did."""

    done: int = 0
    failed: int = 0


def drain_outbox(
    store: RunStore, clock: Clock, handlers: Mapping[str, Handler], holder: str
) -> Drained:
    """Handle every message that is due; one that fails is tried again later, for good.

    A handler's error never reaches the caller: it is written beside the message, and no run is the
    worse for it. Drains at once share the messages, those of one process too.

    Args:
        store: the record.
        clock: for the times.
        handlers: by topic; a message of another topic is left for another drain.
        holder: who drains, for people.
    """
    # Each drain holds for itself: two of one process would take each other's messages.
    holder = new_id(holder)
    # What fails on the way becomes due again later than this, so the loop ends.
    due_at = clock.now()
    total = Drained()
    while True:
        did = _drain_some(store, clock, handlers, holder, due_at)
        total = Drained(total.done + did.done, total.failed + did.failed)
        if did == Drained():
            return total


def _drain_some(
    store: RunStore,
    clock: Clock,
    handlers: Mapping[str, Handler],
    holder: str,
    due_at: datetime,
) -> Drained:
    done = failed = 0
    for listed in store.due_messages(due_at, topics=handlers):
        if (message := _hold(store, clock, listed, holder, due_at)) is None:
            continue
        try:
            handlers[message.topic](message)
        except Exception as error:
            failed += 1
            _put_back(store, clock, message, error, holder)
        else:
            done += 1
            with store.begin(message.tenant_id) as tx:
                tx.save_message(
                    replace(message, attempts=message.attempts + 1, done_at=clock.now(), error=None)
                )
                tx.unlock(_lock_name(message), holder)
    return Drained(done, failed)


def _hold(
    store: RunStore, clock: Clock, listed: OutboxMessage, holder: str, due_at: datetime
) -> OutboxMessage | None:
    """The message, for this drain alone; None where another drain has it, or had it meanwhile."""
    now = clock.now()
    with store.begin(listed.tenant_id) as tx:
        if not take_lock(tx, _lock_name(listed), holder, now, now + HOLD):
            return None
        message = tx.find_message(listed.id)
        if message is None or message.done_at is not None or message.not_before > due_at:
            tx.unlock(_lock_name(listed), holder)
            return None
        return message


def _put_back(
    store: RunStore, clock: Clock, message: OutboxMessage, error: Exception, holder: str
) -> None:
    now = clock.now()
    attempts = message.attempts + 1
    wait = min(timedelta(seconds=2 ** min(attempts, 10)), _LONGEST_WAIT)
    with store.begin(message.tenant_id) as tx:
        tx.save_message(
            replace(
                message,
                attempts=attempts,
                not_before=now + wait,
                error=f"{type(error).__name__}: {error}",
            )
        )
        tx.unlock(_lock_name(message), holder)


def _lock_name(message: OutboxMessage) -> str:
    return f"outbox:{message.id}"
