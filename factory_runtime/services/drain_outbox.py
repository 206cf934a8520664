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


class GivenUpError(Exception):
    """A handler raises it where no other try is to be made: the message is done, with the error."""


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
        handler = handlers[listed.topic]
        stands = handle_message(store, clock, handler, listed, holder, due_at)
        if stands is not None:
            done += stands.done_at is not None
            failed += stands.done_at is None
    return Drained(done, failed)


def handle_message(
    store: RunStore,
    clock: Clock,
    handler: Handler,
    listed: OutboxMessage,
    holder: str,
    due_at: datetime,
) -> OutboxMessage | None:
    """Handle one message; as it then stands, done or put back for later.

    None where another drain has it, had it meanwhile, or put it back. ``holder`` names this drain
    alone, also among those of its process.
    """
    if (message := _hold(store, clock, listed, holder, due_at)) is None:
        return None
    tried = replace(message, attempts=message.attempts + 1)
    try:
        handler(message)
    except GivenUpError as error:
        tried = replace(tried, done_at=clock.now(), error=str(error))
    except Exception as error:
        wait = min(timedelta(seconds=2 ** min(tried.attempts, 10)), _LONGEST_WAIT)
        why = f"{type(error).__name__}: {error}"
        tried = replace(tried, not_before=clock.now() + wait, error=why)
    else:
        tried = replace(tried, done_at=clock.now(), error=None)
    _save(store, tried, holder)
    return tried


def put_off(
    store: RunStore,
    clock: Clock,
    listed: OutboxMessage,
    holder: str,
    due_at: datetime,
    until: datetime,
) -> None:
    """Leave a message for later without a try."""
    if message := _hold(store, clock, listed, holder, due_at):
        _save(store, replace(message, not_before=until), holder)


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


def _save(store: RunStore, message: OutboxMessage, holder: str) -> None:
    with store.begin(message.tenant_id) as tx:
        tx.save_message(message)
        tx.unlock(_lock_name(message), holder)


def _lock_name(message: OutboxMessage) -> str:
    return f"outbox:{message.id}"
