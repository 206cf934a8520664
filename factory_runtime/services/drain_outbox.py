"""Do what commits left to be done: each message at least once, its handler idempotent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import Clock, RunStore

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
    worse for it.
    """
    done = failed = 0
    for message in store.due_messages(clock.now()):
        handler = handlers.get(message.topic)
        if handler is None or not _hold(store, clock, message, holder):
            continue
        try:
            handler(message)
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


def _hold(store: RunStore, clock: Clock, message: OutboxMessage, holder: str) -> bool:
    now = clock.now()
    with store.begin(message.tenant_id) as tx:
        return tx.try_lock(_lock_name(message), holder, now, now + HOLD)


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
