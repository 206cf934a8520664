"""Sending calls to the API, one by one or in an event loop.

A call that may be repeated is tried again while the server is away or busy, as long as it asks and
no longer than the patience that was given.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self, TypeVar

import httpx

from factory_runtime.client.call import Call
from factory_runtime.client.events import EventReader, StreamEvent
from factory_runtime.client.exchange import (
    STREAM_SILENCE,
    Digested,
    answer_of,
    asking,
    away,
    behind,
    broken_off,
    heard,
    next_of,
    refusal,
    refuse_page,
    timeout_of,
)
from factory_runtime.client.target import Target
from factory_runtime.client.tries import Tries
from factory_runtime.domain.errors import TransientError
from factory_runtime.wire.page import Part

T = TypeVar("T")


class FactoryClient:
    """Sends calls. Safe to use from many threads; close it, or use it in a ``with`` block."""

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        self._target = target
        self._http = httpx.Client(
            base_url=target.url.rstrip("/"),
            headers=target.headers,
            timeout=target.timeout.total_seconds(),
            transport=transport,
            trust_env=target.trusts_environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """The answer.

        Raises:
            FactoryError: what the service refused with; or ApiUnavailableError.
        """
        tries = Tries(call, self._target.patience)
        while True:
            try:
                with self._open(call, self._target.timeout.total_seconds()) as answer:
                    answer.read()
                    return answer_of(call, answer)
            except TransientError as error:
                time.sleep(tries.wait(error))

    def pages(self, call: Call[Part[T]]) -> Generator[T]:
        """All items of a list, asked for part by part."""
        while True:
            part = self.send(call)
            yield from part.items
            if part.next_cursor is None:
                return
            call = next_of(call, part.next_cursor)

    def stream(self, call: Call[StreamEvent]) -> Generator[StreamEvent]:
        """What happens in a run, until it has ended; a connection that breaks is made again.

        Raises:
            FactoryError: as ``send``.
        """
        tries = Tries(call, self._target.patience)
        while True:
            reader = EventReader()
            try:
                with self._open(call, STREAM_SILENCE) as answer:
                    refuse_page(answer)
                    for line in answer.iter_lines():
                        event = heard(tries, reader, line)
                        if event is None:
                            continue
                        call = behind(call, event)
                        yield event
                        if event.kind == "end":
                            return
                raise broken_off(self._target)
            except TransientError as error:
                time.sleep(tries.wait(error))

    def download(self, call: Call[bytes], *, sha256: str | None = None) -> Generator[bytes]:
        """A body, chunk by chunk.

        Args:
            call: what is asked for.
            sha256: of the whole body, in hex, as an artifact's answer has it.

        Raises:
            FactoryError: as ``send``; CorruptArtifactError, behind the last chunk, where what came
                is not of that digest.
        """
        body = Digested(call, sha256)
        with self._open(call, STREAM_SILENCE) as answer:
            for chunk in answer.iter_bytes():
                yield body.take(chunk)
        body.refuse_another()

    @contextmanager
    def _open(self, call: Call[T], silence: float) -> Generator[httpx.Response]:
        """An answer that is none of the refusals; it may be silent for so many seconds."""
        try:
            with self._http.stream(
                **asking(call), timeout=timeout_of(self._target, call, silence)
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise refusal(answer)
                yield answer
        except httpx.TransportError as error:
            raise away(self._target, error) from error


class AsyncFactoryClient:
    """Sends calls from an event loop; close it, or use it in an ``async with`` block."""

    def __init__(self, target: Target, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._target = target
        self._http = httpx.AsyncClient(
            base_url=target.url.rstrip("/"),
            headers=target.headers,
            timeout=target.timeout.total_seconds(),
            transport=transport,
            trust_env=target.trusts_environment,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """As ``FactoryClient.send``."""
        tries = Tries(call, self._target.patience)
        while True:
            try:
                async with self._open(call, self._target.timeout.total_seconds()) as answer:
                    await answer.aread()
                    return answer_of(call, answer)
            except TransientError as error:
                await asyncio.sleep(tries.wait(error))

    async def pages(self, call: Call[Part[T]]) -> AsyncGenerator[T]:
        """As ``FactoryClient.pages``."""
        while True:
            part = await self.send(call)
            for item in part.items:
                yield item
            if part.next_cursor is None:
                return
            call = next_of(call, part.next_cursor)

    async def stream(self, call: Call[StreamEvent]) -> AsyncGenerator[StreamEvent]:
        """As ``FactoryClient.stream``."""
        tries = Tries(call, self._target.patience)
        while True:
            reader = EventReader()
            try:
                async with self._open(call, STREAM_SILENCE) as answer:
                    refuse_page(answer)
                    async for line in answer.aiter_lines():
                        event = heard(tries, reader, line)
                        if event is None:
                            continue
                        call = behind(call, event)
                        yield event
                        if event.kind == "end":
                            return
                raise broken_off(self._target)
            except TransientError as error:
                await asyncio.sleep(tries.wait(error))

    async def download(
        self, call: Call[bytes], *, sha256: str | None = None
    ) -> AsyncGenerator[bytes]:
        """As ``FactoryClient.download``."""
        body = Digested(call, sha256)
        async with self._open(call, STREAM_SILENCE) as answer:
            async for chunk in answer.aiter_bytes():
                yield body.take(chunk)
        body.refuse_another()

    @asynccontextmanager
    async def _open(self, call: Call[T], silence: float) -> AsyncGenerator[httpx.Response]:
        """An answer that is none of the refusals; it may be silent for so many seconds."""
        try:
            async with self._http.stream(
                **asking(call), timeout=timeout_of(self._target, call, silence)
            ) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise refusal(answer)
                yield answer
        except httpx.TransportError as error:
            raise away(self._target, error) from error
