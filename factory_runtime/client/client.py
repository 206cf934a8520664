"""Sending calls to the API, one by one or in an event loop.

A call that may be repeated is tried again while the server is away or busy, as long as it asks and
no longer than the patience that was given.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar

import httpx
from pydantic import ValidationError

from factory_runtime.client.call import Call
from factory_runtime.client.events import EventReader, StreamEvent
from factory_runtime.client.refusals import UnreadableAnswerError, error_of
from factory_runtime.client.tries import Tries
from factory_runtime.domain.errors import FactoryError, InputError, TransientError
from factory_runtime.domain.loopback import is_loopback
from factory_runtime.wire.page import Part

T = TypeVar("T")

_STREAM_SILENCE = 60.0
"""Seconds; the server says something every fifteen."""


class ApiUnavailableError(TransientError):
    """The Factory API does not answer."""


class KeyInClearError(InputError):
    """A key would go over a network unencrypted, and nobody said that it may."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the API is, and as who it is asked.

    Attributes:
        url: of its host, like ``https://factory.example.com``; what follows the host is kept.
        key: an API key or a token; None where none is needed.
        plain_http: whether the key may go to another machine unencrypted.
        timeout: of one answer.
        patience: the most that a call is tried for.

    Raises:
        InputError: it is no address of http, or the key would go in clear where it may not.
    """

    url: str
    key: str | None = None
    timeout: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(seconds=20)
    plain_http: bool = False

    def __post_init__(self) -> None:
        try:
            parts = httpx.URL(self.url)
        except httpx.InvalidURL:
            parts = httpx.URL("")
        scheme, host = parts.scheme, parts.host
        if scheme not in ("http", "https") or not host:
            raise InputError(
                f"{self.url!r} is no address of a Factory API",
                hint="it is like https://factory.example.com: FACTORY_API_URL",
            )
        if self.key is None or self.plain_http or scheme == "https" or is_loopback(host):
            return
        raise KeyInClearError(
            f"whoever is on the way to {host} could read the key: it would go by plain http",
            hint="use https; where nobody else is on the way, set FACTORY_API_PLAIN_HTTP=true",
        )

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}


class FactoryClient:
    """Sends calls. Safe to use from many threads; close it, or use it in a ``with`` block."""

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        self._target = target
        self._http = httpx.Client(
            base_url=target.url.rstrip("/"),
            headers=target.headers,
            timeout=target.timeout.total_seconds(),
            transport=transport,
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
                answer = self._http.send(_request(self._http, call))
            except httpx.TransportError as error:
                time.sleep(tries.wait(_away(self._target, error)))
                continue
            if answer.is_success:
                return _read(call, answer)
            time.sleep(tries.wait(_refusal(answer)))

    def pages(self, call: Call[Part[T]]) -> Generator[T]:
        """All items of a list, asked for part by part."""
        while True:
            part = self.send(call)
            yield from part.items
            if part.next_cursor is None:
                return
            call = _next(call, part.next_cursor)

    def stream(self, call: Call[StreamEvent]) -> Generator[StreamEvent]:
        """What happens in a run, until it has ended; a connection that breaks is made again.

        Raises:
            FactoryError: as ``send``.
        """
        tries = Tries(call, self._target.patience)
        while True:
            reader = EventReader()
            try:
                with self._http.stream(**_streaming(call)) as answer:
                    if not answer.is_success:
                        answer.read()
                        raise _refusal(answer)
                    _refuse_page(answer)
                    for line in answer.iter_lines():
                        event = _heard(tries, reader, line)
                        if event is None:
                            continue
                        call = _behind(call, event)
                        yield event
                        if event.kind == "end":
                            return
                time.sleep(tries.wait(_broken_off(self._target)))
            except httpx.TransportError as error:
                time.sleep(tries.wait(_away(self._target, error)))
            except TransientError as error:
                time.sleep(tries.wait(error))

    def download(self, call: Call[bytes]) -> Generator[bytes]:
        """A body, chunk by chunk.

        Raises:
            FactoryError: as ``send``.
        """
        try:
            with self._http.stream(**_streaming(call)) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise _away(self._target, error) from error


class AsyncFactoryClient:
    """Sends calls from an event loop; close it, or use it in an ``async with`` block."""

    def __init__(self, target: Target, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._target = target
        self._http = httpx.AsyncClient(
            base_url=target.url.rstrip("/"),
            headers=target.headers,
            timeout=target.timeout.total_seconds(),
            transport=transport,
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
                answer = await self._http.send(_request(self._http, call))
            except httpx.TransportError as error:
                await asyncio.sleep(tries.wait(_away(self._target, error)))
                continue
            if answer.is_success:
                return _read(call, answer)
            await asyncio.sleep(tries.wait(_refusal(answer)))

    async def pages(self, call: Call[Part[T]]) -> AsyncGenerator[T]:
        """As ``FactoryClient.pages``."""
        while True:
            part = await self.send(call)
            for item in part.items:
                yield item
            if part.next_cursor is None:
                return
            call = _next(call, part.next_cursor)

    async def stream(self, call: Call[StreamEvent]) -> AsyncGenerator[StreamEvent]:
        """As ``FactoryClient.stream``."""
        tries = Tries(call, self._target.patience)
        while True:
            reader = EventReader()
            try:
                async with self._http.stream(**_streaming(call)) as answer:
                    if not answer.is_success:
                        await answer.aread()
                        raise _refusal(answer)
                    _refuse_page(answer)
                    async for line in answer.aiter_lines():
                        event = _heard(tries, reader, line)
                        if event is None:
                            continue
                        call = _behind(call, event)
                        yield event
                        if event.kind == "end":
                            return
                await asyncio.sleep(tries.wait(_broken_off(self._target)))
            except httpx.TransportError as error:
                await asyncio.sleep(tries.wait(_away(self._target, error)))
            except TransientError as error:
                await asyncio.sleep(tries.wait(error))


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[T]) -> httpx.Request:
    return http.build_request(
        call.method, call.url, params=call.query, json=call.body, headers=dict(call.headers)
    )


class _Streaming(TypedDict):
    method: str
    url: str
    params: Mapping[str, Any]
    headers: Mapping[str, str]
    timeout: float


def _streaming(call: Call[T]) -> _Streaming:
    return {
        "method": call.method,
        "url": call.url,
        "params": call.query,
        "headers": call.headers,
        "timeout": _STREAM_SILENCE,
    }


def _read(call: Call[T], answer: httpx.Response) -> T:
    try:
        return call.read(answer.content)
    except ValidationError as error:
        raise _unreadable(answer) from error


def _unreadable(answer: httpx.Response) -> UnreadableAnswerError:
    place = answer.request.url.copy_with(query=None)
    return UnreadableAnswerError(
        f"what answers at {place} is no Factory API that this client can read"
    )


def _refusal(answer: httpx.Response) -> FactoryError:
    return error_of(answer.status_code, answer.content, answer.headers)


def _away(target: Target, error: httpx.TransportError) -> ApiUnavailableError:
    return ApiUnavailableError(
        f"the Factory API at {target.url} does not answer: {type(error).__name__}",
        hint="is FACTORY_API_URL right, and does `factory api` or `factory up` run there?",
    )


def _broken_off(target: Target) -> ApiUnavailableError:
    return ApiUnavailableError(
        f"the Factory API at {target.url} ends streams before their runs end"
    )


def _next(call: Call[Part[T]], cursor: str) -> Call[Part[T]]:
    name = "after" if "after" in call.query else "cursor"
    return replace(call, query={**call.query, name: cursor})


def _refuse_page(answer: httpx.Response) -> None:
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        raise _unreadable(answer)


def _heard(tries: Tries, reader: EventReader, line: str) -> StreamEvent | None:
    """The event that a line ends, if it ends one."""
    event = reader.take(line)
    if event is not None or line.startswith(":"):  # it is not said again each time it is asked
        tries.begin_anew()
    return event


def _behind(call: Call[StreamEvent], event: StreamEvent) -> Call[StreamEvent]:
    """What goes on behind an event, should the connection break."""
    if event.sequence is None:
        return call
    return replace(call, headers={**call.headers, "Last-Event-ID": str(event.sequence)})
