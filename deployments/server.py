"""The local Prefect server: Prefect's own application, a little more patient on SQLite.

Started as ``python -m deployments.server PORT NONCE`` by the executor, with the lifeline on
standard input.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import itertools
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from deployments.lifeline import on_parent_gone, terminate_self

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

WHO_ARE_YOU = "/factory/nonce"
_SOON = (b"retry-after", b"0.05")
_ASK_ONLY_US = (b"content-security-policy", b"connect-src 'self' data: blob:")
"""Prefect's UI asks a host of others for the settings of its analytics, though they are off."""

AT_WORK = 4
"""Requests at work at once. SQLite has one writer; more than these get in each other's way."""

IN_LINE = 256
"""Requests that wait for that, in their order. More are told at once to come back."""

TRIES = 20
AGAIN_SECONDS = 0.05
_COLLECT_EVERY = 0.5
_WHOLE_EVERY = 20


class PatientServer:
    """Prefect's application, with three additions.

    Few requests are at work at once, and the others wait in line. One that is answered 503 (SQLite
    was busy for 30 ms, and nothing was written) is tried again here: who fills in a form does not
    try again, and a client sleeps two seconds first; in the end that one is told to come back
    soon. And the server tells the nonce it was started with, so that its parent knows that its own
    child answers on the port, and not somebody else.
    """

    def __init__(
        self, application: Application, nonce: str, at_work: int = AT_WORK, in_line: int = IN_LINE
    ) -> None:
        self._application = application
        self._nonce = nonce
        self._room = asyncio.Semaphore(at_work)
        self._in_line = 0
        self._longest_line = in_line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
        elif scope["path"] == WHO_ARE_YOU:
            await _answer(send, 200, self._nonce.encode())
        elif self._in_line >= self._longest_line:
            await _answer(send, 503, b"too many are in line", _SOON)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Request(receive)
        for tries_left in reversed(range(TRIES)):
            answer = _Answer(send, is_last=not tries_left)
            # Each time with a scope of its own: what it is mounted in writes into it.
            async with self._at_work():
                try:
                    await self._application({**scope}, request.told_again(), answer)
                except Exception:
                    if not answer.is_busy:  # else it raises what it has answered
                        raise
            if not answer.is_busy:
                break
            await asyncio.sleep(AGAIN_SECONDS)

    @asynccontextmanager
    async def _at_work(self) -> AsyncGenerator[None]:
        self._in_line += 1
        try:
            await self._room.acquire()
        finally:
            self._in_line -= 1
        try:
            yield
        finally:
            self._room.release()


class _Request:
    """A request that can be told more than once."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._told: list[Message] = []

    def told_again(self) -> Receive:
        told = iter(tuple(self._told))

        async def receive() -> Message:
            for message in told:
                return message
            message = await self._receive()
            self._told.append(message)
            return message

        return receive


class _Answer:
    """Passes an answer on; one that says it is busy, only if it is the last. Pages ask only us.

    Attributes:
        is_busy: whether it said so.
    """

    def __init__(self, send: Send, *, is_last: bool) -> None:
        self._send = send
        self._is_last = is_last
        self.is_busy = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 503:
            self.is_busy = True
            others = [h for h in message["headers"] if h[0].lower() != _SOON[0]]
            message = {**message, "headers": [*others, _SOON]}
        if message["type"] == "http.response.start" and _is_page(message):
            message = {**message, "headers": [*message["headers"], _ASK_ONLY_US]}
        if self._is_last or not self.is_busy:
            await self._send(message)


def _is_page(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and kind.startswith(b"text/html")
        for name, kind in start["headers"]
    )


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


def collect_garbage_beside(every: float = _COLLECT_EVERY) -> None:
    """Have garbage collected on a thread of its own, and on no other, every so many seconds.

    A statement of SQLite's that is collected while another thread is at work on its connection
    waits for that thread. On the event loop this is a deadlock: that thread may wait, for a minute,
    for a lock that a coroutine holds which cannot go on. All requests wait with it.
    """
    gc.disable()

    def collect() -> None:
        for round_ in itertools.count(1):
            time.sleep(every)
            gc.collect(2 if round_ % _WHOLE_EVERY == 0 else 1)
            if round_ == _WHOLE_EVERY:
                gc.freeze()  # what was imported stays: each look at all of it stops us for 0.3 s

    threading.Thread(target=collect, name="garbage", daemon=True).start()


def main() -> None:
    """Serve until the parent is gone or says stop."""
    port, nonce = int(sys.argv[1]), sys.argv[2]
    faulthandler.register(signal.SIGUSR1)  # what every thread does, into the log
    on_parent_gone(terminate_self)
    gc.disable()
    from prefect.server.api.server import create_app

    server = PatientServer(create_app(), nonce)
    gc.freeze()  # what is imported by now is never garbage, and looking it over takes 0.6 s
    collect_garbage_beside()
    uvicorn.run(
        server, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=3
    )


if __name__ == "__main__":
    main()
