"""Send what the outbox holds beside everything else: each receiver on its own, none waits for another."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from datetime import datetime, timedelta

from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.drain_outbox import Drained, Handler, handle_message, put_off

AT_ONCE = 8
"""Receivers that are sent to at once in this process, of one topic."""

_PAGE = 200
_LONGEST_REST = timedelta(minutes=10)

_LOG = logging.getLogger("factory.lanes")

Lane = tuple[str, str]
"""A tenant and the name of one of its receivers."""


class Lanes:
    """Drains one topic. Any number of these may be at it at once, in any number of processes.

    What is due for one receiver is sent by one thread, the least tried first, until it fails: then
    all that is due for it rests, ever longer. A receiver that hangs costs one thread for the time
    that a handler takes, and nobody else anything.
    """

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        topic: str,
        receiver_of: Callable[[OutboxMessage], str],
        send: Handler,
        holder: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._topic = topic
        self._receiver_of = receiver_of
        self._send = send
        self._holder = holder
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=topic)
        self._lock = threading.Lock()
        self._under_way: dict[Lane, Future[None]] = {}
        self._ended: list[Drained] = []
        self._failures: dict[Lane, int] = defaultdict(int)
        self._last: OutboxMessage | None = None

    def send_due(self, patience: timedelta = timedelta(0)) -> Drained:
        """Begin to send all that is due, and wait so long for it; what has come of it by then.

        What comes of it later is told by the next call.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        done = failed = 0
        until = time.monotonic() + patience.total_seconds()
        while True:
            wait(self._begin_lanes(), timeout=max(0, until - time.monotonic()))
            with self._lock:
                ended, self._ended = self._ended, []
            done += sum(one.done for one in ended)
            failed += sum(one.failed for one in ended)
            if self._last is None or time.monotonic() >= until:
                return Drained(done, failed)

    def close(self) -> None:
        """Begin nothing more. What is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin_lanes(self) -> list[Future[None]]:
        """Give every receiver that is not sent to already a thread, or a place in the queue."""
        due_at = self._clock.now()
        due: dict[Lane, list[OutboxMessage]] = defaultdict(list)
        for message in self._next_page(due_at):
            due[message.tenant_id, self._receiver_of(message)].append(message)
        with self._lock:
            for lane, messages in due.items():
                if lane not in self._under_way:
                    # Which server keeps addresses stands in the context of who has them sent.
                    run = copy_context().run
                    sending = self._pool.submit(run, self._send_lane, lane, messages, due_at)
                    self._under_way[lane] = sending
            return list(self._under_way.values())

    def _next_page(self, due_at: datetime) -> tuple[OutboxMessage, ...]:
        """What is due, page by page, then from the start: much for one hides no other's."""
        with self._lock:
            after = self._last
        page = self._store.due_messages(due_at, _PAGE, topics=[self._topic], after=after)
        with self._lock:
            self._last = page[-1] if len(page) == _PAGE else None
        return page

    def _send_lane(self, lane: Lane, messages: list[OutboxMessage], due_at: datetime) -> None:
        ended = Drained()
        try:
            ended = self._send_all(lane, messages, due_at)
        except StoreUnavailableError as error:
            _LOG.warning("%s for %s waits: %s", self._topic, lane[1], error)
        except Exception:
            _LOG.exception("%s for %s waits", self._topic, lane[1])
        finally:
            with self._lock:
                self._under_way.pop(lane, None)
                self._ended.append(ended)

    def _send_all(self, lane: Lane, messages: list[OutboxMessage], due_at: datetime) -> Drained:
        holder = new_id(self._holder)
        done = 0
        # The least tried first: one that its receiver will never take stands in nobody's way.
        left = sorted(messages, key=lambda message: message.attempts)
        while left:
            tried = handle_message(
                self._store, self._clock, self._send, left.pop(0), holder, due_at
            )
            if tried is None:
                continue
            if tried.done_at is None:
                self._rest(lane, left, holder, due_at)
                return Drained(done, 1)
            self._failures.pop(lane, None)
            done += 1
        return Drained(done)

    def _rest(self, lane: Lane, left: list[OutboxMessage], holder: str, due_at: datetime) -> None:
        """Put off what else is due for a receiver that has just failed; it was not tried."""
        self._failures[lane] = min(self._failures[lane] + 1, 10)
        rest = min(timedelta(seconds=2 ** self._failures[lane]), _LONGEST_REST)
        for message in left:
            put_off(self._store, self._clock, message, holder, due_at, self._clock.now() + rest)
