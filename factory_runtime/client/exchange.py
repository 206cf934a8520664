"""What a client sends and what it takes an answer for, whichever way it waits for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict, TypeVar

import httpx
from pydantic import ValidationError

from factory_runtime.client.call import Call
from factory_runtime.client.events import EventReader, StreamEvent
from factory_runtime.client.refusals import UnreadableAnswerError, error_of
from factory_runtime.client.target import Target
from factory_runtime.client.tries import Tries
from factory_runtime.domain.errors import CorruptArtifactError, FactoryError, TransientError
from factory_runtime.wire.page import Part

T = TypeVar("T")

STREAM_SILENCE = 60.0
"""Seconds; the server says something every fifteen."""


class ApiUnavailableError(TransientError):
    """The Factory API does not answer."""


class Digested:
    """A body on its way to whoever reads it."""

    def __init__(self, call: Call[bytes], sha256: str | None) -> None:
        self._call = call
        self._wanted = sha256
        self._found = hashlib.sha256()

    def take(self, chunk: bytes) -> bytes:
        self._found.update(chunk)
        return chunk

    def refuse_another(self) -> None:
        """Raises CorruptArtifactError where it is not the body that is wanted."""
        if self._wanted not in (None, self._found.hexdigest()):
            raise CorruptArtifactError(
                f"what came as {self._call.path} does not match its digest {self._wanted}",
                hint="ask for it once more",
            )


class _Asking(TypedDict):
    method: str
    url: str
    params: Mapping[str, Any]
    json: Any
    headers: Mapping[str, str]


def asking(call: Call[T]) -> _Asking:
    """What is sent, in httpx's words."""
    return {
        "method": call.method,
        "url": call.url,
        "params": call.query,
        "json": call.body,
        "headers": call.headers,
    }


def timeout_of(target: Target, call: Call[T], silence: float) -> httpx.Timeout:
    """A server that is there may be silent for as long as the call takes, if that is longer."""
    read = max(silence, call.takes.total_seconds())
    return httpx.Timeout(target.timeout.total_seconds(), read=read)


def answer_of(call: Call[T], answer: httpx.Response) -> T:
    """What a whole answer says.

    Raises:
        UnreadableAnswerError: it is none that the call asks for.
    """
    try:
        return call.read(answer.content)
    except ValidationError as error:
        raise _unreadable(answer) from error


def _unreadable(answer: httpx.Response) -> UnreadableAnswerError:
    place = answer.request.url.copy_with(query=None)
    return UnreadableAnswerError(
        f"what answers at {place} is no Factory API that this client can read"
    )


def refusal(answer: httpx.Response) -> FactoryError:
    """Why there is no such answer; all of it was read."""
    return error_of(answer.status_code, answer.content, answer.headers)


def away(target: Target, error: httpx.TransportError) -> ApiUnavailableError:
    """Nobody answers."""
    return ApiUnavailableError(
        f"the Factory API at {target.url} does not answer: {type(error).__name__}",
        hint="is FACTORY_API_URL right, and does `factory api` or `factory up` run there?",
    )


def broken_off(target: Target) -> ApiUnavailableError:
    """A stream ended before what it tells of did."""
    return ApiUnavailableError(
        f"the Factory API at {target.url} ends streams before their runs end"
    )


def next_of(call: Call[Part[T]], cursor: str) -> Call[Part[T]]:
    """What asks for the part behind one."""
    name = "after" if "after" in call.query else "cursor"
    return replace(call, query={**call.query, name: cursor})


def refuse_page(answer: httpx.Response) -> None:
    """Raises UnreadableAnswerError where what comes is no stream of events."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        raise _unreadable(answer)


def heard(tries: Tries, reader: EventReader, line: str) -> StreamEvent | None:
    """The event that a line ends, if it ends one."""
    event = reader.take(line)
    if event is not None or line.startswith(":"):  # it is not said again each time it is asked
        tries.begin_anew()
    return event


def behind(call: Call[StreamEvent], event: StreamEvent) -> Call[StreamEvent]:
    """What goes on behind an event, should the connection break."""
    if event.sequence is None:
        return call
    return replace(call, headers={**call.headers, "Last-Event-ID": str(event.sequence)})
