"""Do what commits left to be done: each message at least once, its handler idempotent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.errors import TransientError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.locks import take_lock
from factory_runtime.services.topics import FORGETFUL

Handler = Callable[[OutboxMessage], None]


@dataclass(frozen=True, slots=True)
class Together:
    """A handler that takes all that is due of its topic at once: one question instead of many.

    Attributes:
        handle: does all of them or none. If it raises a TransientError, nobody could do them now;
            of any other error, they are done one by one: one of them may be past helping.
    """

    handle: Callable[[Sequence[OutboxMessage]], None]

    def __call__(self, message: OutboxMessage) -> None:
        """Handle one by itself."""
        self.handle([message])


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
    tried: list[OutboxMessage] = []
    together: dict[str, list[OutboxMessage]] = defaultdict(list)
    for listed in store.due_messages(due_at, topics=handlers):
        handler = handlers[listed.topic]
        if isinstance(handler, Together):
            together[listed.topic].append(listed)
        elif stands := handle_message(store, clock, handler, listed, holder, due_at):
            tried.append(stands)
    for topic, some in together.items():
        handler = handlers[topic]
        if isinstance(handler, Together):
            tried += _handle_together(store, clock, handler, some, holder, due_at)
    done = sum(message.done_at is not None for message in tried)
    return Drained(done, len(tried) - done)


def _handle_together(
    store: RunStore,
    clock: Clock,
    together: Together,
    listed: Sequence[OutboxMessage],
    holder: str,
    due_at: datetime,
) -> list[OutboxMessage]:
    """Those of the messages that this drain got hold of, as they then stand."""
    got = (_hold(store, clock, one, holder, due_at) for one in listed)
    held = [message for message in got if message is not None]
    if not held:
        return []
    try:
        together.handle(held)
    except TransientError as error:
        tried = [_put_back(clock, message, error) for message in held]
    except Exception:
        tried = [_try(clock, together, message) for message in held]
    else:
        tried = [_done(clock, message) for message in held]
    for message in tried:
        _save(store, message, holder)
    return tried


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
    tried = _try(clock, handler, message)
    _save(store, tried, holder)
    return tried


def _try(clock: Clock, handler: Handler, message: OutboxMessage) -> OutboxMessage:
    try:
        handler(message)
    except GivenUpError as error:
        return _done(clock, message, str(error))
    except Exception as error:
        return _put_back(clock, message, error)
    return _done(clock, message)


def _done(clock: Clock, message: OutboxMessage, error: str | None = None) -> OutboxMessage:
    payload: Mapping[str, Any] = {} if message.topic in FORGETFUL else message.payload
    attempts = message.attempts + 1
    return replace(message, payload=payload, attempts=attempts, done_at=clock.now(), error=error)


def _put_back(clock: Clock, message: OutboxMessage, error: Exception) -> OutboxMessage:
    attempts = message.attempts + 1
    wait = min(timedelta(seconds=2 ** min(attempts, 10)), _LONGEST_WAIT)
    why = f"{type(error).__name__}: {error}"
    return replace(message, attempts=attempts, not_before=clock.now() + wait, error=why)


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
        if message.topic in FORGETFUL:
            tx.overwrite_deleted()
        tx.save_message(message)
        tx.unlock(_lock_name(message), holder)


def _lock_name(message: OutboxMessage) -> str:
    return f"outbox:{message.id}"
