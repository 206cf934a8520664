"""Asks an organisation of Azure DevOps by REST 7.1, and by git's protocol.

One request is sent once: who asks again is the engine, and each of our effects is looked for
before it is made. So a lost answer costs a look, and makes nothing twice. Routes and shapes are
those of https://learn.microsoft.com/rest/api/azure/devops/?view=azure-devops-rest-7.1.
"""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

import httpx
from pydantic import BaseModel, ValidationError

from factory_runtime.domain.errors import FactoryError, HostBusyError, InputError
from factory_runtime.hosts.azure_devops.access import AzureDevOps, Token
from factory_runtime.hosts.azure_devops.errors import (
    MissingError,
    TurnedDownError,
    complaint_of,
    is_answer,
    plain,
    refusal,
    retry_after_of,
)

T = TypeVar("T", bound=BaseModel)

VERSION = "7.1"
# The host may hold an answer back for half a minute where we ask much.
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_ANSWER_SECONDS = 120.0
_ANSWER_BYTES = 32 * 1024 * 1024
_COMPLAINT_BYTES = 64 * 1024
_MANY = 1000
_SHORT_WAIT = 2.0
"""Seconds that are slept; for longer ones nobody holds a process."""


class _Listed(BaseModel, Generic[T]):
    value: list[T]


class Turns:
    """When the host wants to hear from us again. Safe to use from many threads.

    It says so on answers that are good, too: "Rate and usage limits",
    https://learn.microsoft.com/azure/devops/integrate/concepts/rate-limits
    """

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep
        self._next = 0.0
        self._putting_off = threading.Lock()

    def put_off(self, wait: timedelta | None) -> None:
        """Have the next request wait."""
        if wait is not None:
            with self._putting_off:
                self._next = max(self._next, time.monotonic() + wait.total_seconds())

    def take(self, host: str) -> None:
        """Return when a request may be sent.

        Raises:
            HostBusyError: not soon; ``retry_after`` says when.
        """
        wait = self._next - time.monotonic()
        if wait > _SHORT_WAIT:
            raise HostBusyError(
                f"{host} asks us to wait for {wait:.0f} s", retry_after=timedelta(seconds=wait)
            )
        if wait > 0:
            self._sleep(wait)


class AzureDevOpsClient:
    """Keeps the connections to one organisation. Safe to use from many threads, and after a fork.

    Every method raises HostBusyError where the host does not answer, fails, or asks to wait;
    TurnedDownError (a HostRejectedError) where it refuses, or does not accept the token;
    InputError where the project is not there; MissingError where something else is not;
    TakenError where it collides with what is there.

    Args:
        access: which organisation, and our tokens.
        turns: when it wants to hear from us.
    """

    def __init__(self, access: AzureDevOps, turns: Turns | None = None) -> None:
        self.access = access
        self.turns = turns or Turns()
        self._lasting: dict[str, BaseModel] = {}
        self._http: httpx.Client | None = None
        self._process = 0
        self._lock = threading.Lock()

    def get(self, shape: type[T], path: str, query: Mapping[str, Any] | None = None) -> T:
        """What is at a path of ``route``."""
        return self._shaped(shape, self._ask("GET", path, query))

    def find(self, shape: type[T], path: str, query: Mapping[str, Any] | None = None) -> T | None:
        """As ``get``; None where it is not there."""
        try:
            return self.get(shape, path, query)
        except MissingError:
            return None

    def find_lasting(self, shape: type[T], path: str) -> T | None:
        """As ``find``, of what is named by its digest, and so never changes: asked for once."""
        found = self._lasting.get(path)
        if not isinstance(found, shape):
            found = self.find(shape, path)
            if found is not None:
                if len(self._lasting) >= _MANY:
                    self._lasting.clear()
                self._lasting[path] = found
        return found

    def list(
        self, shape: type[T], path: str, query: Mapping[str, Any] | None = None
    ) -> Iterator[T]:
        """All of a list, page by page."""
        wanted = dict(query or {})
        while True:
            answer = self._ask("GET", path, wanted)
            yield from self._shaped(_Listed[shape], answer).value
            token = answer.headers.get("x-ms-continuationtoken")
            if not token or token == wanted.get("continuationToken"):
                return
            wanted["continuationToken"] = token

    def post(
        self, shape: type[T], path: str, body: Any, query: Mapping[str, Any] | None = None,
        *, media_type: str = "application/json",
    ) -> T:  # fmt: skip
        """What the host answers to a body."""
        return self._shaped(shape, self._ask("POST", path, query, body, media_type))

    def patch(
        self, shape: type[T], path: str, body: Any, query: Mapping[str, Any] | None = None,
        *, media_type: str = "application/json",
    ) -> T:  # fmt: skip
        """As ``post``, of a change."""
        return self._shaped(shape, self._ask("PATCH", path, query, body, media_type))

    def put(
        self, shape: type[T], path: str, body: Any, query: Mapping[str, Any] | None = None
    ) -> T:
        """As ``post``, of what a path names."""
        return self._shaped(shape, self._ask("PUT", path, query, body, "application/json"))

    def delete(self, path: str, query: Mapping[str, Any] | None = None) -> bool:
        """Remove it; False where it is not there."""
        try:
            self._ask("DELETE", path, query)
        except MissingError:
            return False
        return True

    def stream(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """A body of any size, in pieces; as text, where the host has it so."""
        with self._answered("GET", path, _versioned(query), {"Accept": "text/plain"}) as answer:
            yield from answer.iter_bytes()

    def speak_git(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: Iterable[bytes] | None = None,
    ) -> httpx.Response:
        """The answer to a request of git's protocol, at an address of the organisation's."""
        path = url.removeprefix(f"{self.access.url}/")
        # Who is not git is led to a page to sign in, instead of being told.
        said = {"User-Agent": "git/2.36 (factory-runtime)", "Accept": "*/*", **(headers or {})}
        with self._answered(method, path, {}, said, content) as answer:
            return self._whole(answer, path)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        media_type: str | None = None,
    ) -> httpx.Response:
        headers, content = {"Accept": "application/json"}, None
        if media_type is not None:
            headers["Content-Type"], content = media_type, json.dumps(body).encode()
        with self._answered(method, path, _versioned(query), headers, content) as answer:
            return self._whole(answer, path)

    def _whole(self, answer: httpx.Response, path: str) -> httpx.Response:
        body, is_all = _read(answer, _ANSWER_BYTES)
        if not is_all:
            raise HostBusyError(f"{self.access.name} does not come to an end: {path}")
        return httpx.Response(answer.status_code, headers=_kept(answer), content=body)

    @contextmanager
    def _answered(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        content: bytes | Iterable[bytes] | None = None,
    ) -> Generator[httpx.Response]:
        """An answer that is one, its body not read yet."""
        host = self.access.name
        self.turns.take(host)
        token = self.access.tokens()
        try:
            with self._client().stream(
                method,
                f"{self.access.url}/{path}",
                params=query or None,
                content=content,
                headers={"Authorization": token.header, **headers},
            ) as answer:
                self.turns.put_off(retry_after_of(answer))
                if not is_answer(answer):
                    raise self._refusal(answer, token, path)
                yield answer
        except httpx.WriteTimeout as exc:
            raise HostBusyError(
                f"{host} stopped taking in what it is sent",
                hint="look whether it limits the size of a push",
            ) from exc
        except httpx.HTTPError as exc:
            why = token.hidden(f"{type(exc).__name__} {exc}")
            raise HostBusyError(f"{host} does not answer: {plain(why)}") from exc

    def _refusal(self, answer: httpx.Response, token: Token, path: str) -> FactoryError:
        body, _ = _read(answer, _COMPLAINT_BYTES)
        is_text = answer.headers.get("content-type", "").startswith("text/plain")
        said = complaint_of(token.hidden(body.decode(errors="replace")), is_text=is_text)
        return refusal(self.access.name, answer, said, project=_project_in(path))

    def _shaped(self, shape: type[T], answer: httpx.Response) -> T:
        try:
            return shape.model_validate_json(answer.content or b"{}")
        except ValidationError as exc:
            where = ".".join(map(str, exc.errors(include_input=False)[0]["loc"])) or "JSON"
            raise TurnedDownError(
                f"{self.access.name} answers in a form that is not known here: {where}",
                hint="look whether the URL is an organisation's of Azure DevOps",
            ) from exc

    def _client(self) -> httpx.Client:
        with self._lock:
            # A connection of the parent's is not one of ours.
            if self._http is None or self._process != os.getpid():
                self._process = os.getpid()
                # A proxy would read what goes by plain http. Of https it is told the host alone.
                is_tls = self.access.url.startswith("https:")
                self._http = httpx.Client(
                    timeout=_TIMEOUT, trust_env=is_tls, follow_redirects=False
                )
                # Nobody is told when a host is used for the last time.
                weakref.finalize(self, self._http.close)
            return self._http


def route(project: str | None, *names: str) -> str:
    """A path below the organisation: ``route("shop", "git", "repositories", name)``.

    Raises:
        InputError: one of the names would lead elsewhere.
    """
    for name in (project or "organisation", *names):
        if name in ("", ".", "..") or not name.isprintable():
            raise InputError(f"{name[:80]!r} cannot be part of an address of the host")
    quoted = [quote(name, safe="$") for name in names]
    return "/".join([*([] if project is None else [quote(project, safe="")]), "_apis", *quoted])


def _versioned(query: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"api-version": VERSION, **(query or {})}


def _project_in(path: str) -> str | None:
    project, _, _ = path.partition("/_apis/")
    return None if project == path else unquote(project)


def _read(answer: httpx.Response, most: int) -> tuple[bytes, bool]:
    """Its body, and whether that is all of it: there is an end to bytes and to time."""
    until = time.monotonic() + _ANSWER_SECONDS
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > most or time.monotonic() > until:
            return bytes(body[:most]), False
    return bytes(body), True


def _kept(answer: httpx.Response) -> dict[str, str]:
    """The headers that still hold once the body is read and unpacked."""
    dropped = ("content-encoding", "content-length", "transfer-encoding")
    return {name: text for name, text in answer.headers.items() if name not in dropped}
