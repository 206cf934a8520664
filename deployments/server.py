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
from collections.abc import Awaitable, Callable, MutableMapping
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

AT_WORK = 4
"""Requests at work at once. SQLite has one writer; more than these get in each other's way."""

IN_LINE = 256
"""Requests that wait for that, in their order. More are told at once to come back."""

_COLLECT_EVERY = 0.5
_WHOLE_EVERY = 20


class PatientServer:
    """Prefect's application, with three additions.

    A 503 (SQLite was busy for 30 ms) says to come back soon: without that, a client sleeps two
    seconds. Few requests are at work at once, and the others wait in line. And it tells the nonce
    it was started with, so that its parent knows that its own child answers on the port, and not
    somebody else.
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
        async def patient_send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                others = [h for h in message["headers"] if h[0].lower() != _SOON[0]]
                message = {**message, "headers": [*others, _SOON]}
            await send(message)

        self._in_line += 1
        try:
            await self._room.acquire()
        finally:
            self._in_line -= 1
        try:
            await self._application(scope, receive, patient_send)
        finally:
            self._room.release()


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

    threading.Thread(target=collect, name="garbage", daemon=True).start()


def main() -> None:
    """Serve until the parent is gone or says stop."""
    port, nonce = int(sys.argv[1]), sys.argv[2]
    faulthandler.register(signal.SIGUSR1)  # what every thread does, into the log
    on_parent_gone(terminate_self)
    collect_garbage_beside()
    from prefect.server.api.server import create_app

    server = PatientServer(create_app(), nonce)
    uvicorn.run(
        server, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=3
    )


if __name__ == "__main__":
    main()
