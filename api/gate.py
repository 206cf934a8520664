"""ASGI: while the run store is away, whoever asks is told so at once.

A server that is stopped refuses connections, and each request finds out by itself. One that hangs
says nothing for as long as it likes: a request that has no answer after a moment has the store
looked at, beside the pool. Where that says nothing either, this request is answered, and those
that follow wait for no more than a look, until one of them finds the store back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import refuse
from factory_runtime.domain.errors import StoreUnavailableError

_SLOW_SECONDS = 0.4
"""With a look that is fresh, another that is not, and its patience: less than two seconds."""


class StoreGate:
    """Lets requests through while the store is there.

    Args:
        app: what it stands before.
        is_there: looks at the store, shortly, and in no thread that requests need.
        beside: the beginnings of paths that find out for themselves.
    """

    def __init__(
        self, app: ASGIApp, is_there: Callable[[], Awaitable[bool]], beside: tuple[str, ...]
    ) -> None:
        self._app = app
        self._is_there = is_there
        self._beside = beside
        self._shut = False
        self._left: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self._beside):
            await self._app(scope, receive, send)
        elif self._shut and not await self._look():
            await _refuse(scope, receive, send)
        else:
            await self._let_through(scope, receive, send)

    async def _look(self) -> bool:
        self._shut = not await self._is_there()
        return not self._shut

    async def _let_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = given_up = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if not given_up:
                begun = True
                await send(message)

        request = asyncio.ensure_future(self._app(scope, receive, answer))
        try:
            while not await _ends(request) and not begun:
                if not await self._look() and not (begun or request.done()):
                    given_up = True
                    self._leave(request)
                    await _refuse(scope, receive, send)
                    return
            await request
        except asyncio.CancelledError:
            request.cancel()
            raise

    def _leave(self, request: asyncio.Task[None]) -> None:
        """It hangs in a thread that nobody can stop: it ends when the store answers, or is gone."""
        self._left.add(request)
        request.add_done_callback(self._forget)

    def _forget(self, request: asyncio.Task[None]) -> None:
        self._left.discard(request)
        with suppress(asyncio.CancelledError):
            request.exception()  # nobody waits for it any more


async def _ends(request: asyncio.Task[None]) -> bool:
    done, _ = await asyncio.wait([request], timeout=_SLOW_SECONDS)
    return bool(done)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = StoreUnavailableError("the run store does not answer", hint="ask again in a moment")
    await refuse(error)(scope, receive, send)
