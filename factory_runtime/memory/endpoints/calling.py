"""Asks an endpoint over HTTP: again where that may help, within a bounded time."""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from factory_runtime.domain.errors import MemoryUnavailableError, SettingsError
from factory_runtime.domain.loopback import is_loopback

_PAUSES = (0.5, 2.0, 5.0)
"""Seconds before each next try, where the endpoint does not ask for more."""
_PATIENCE = 20.0
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_ANSWER_SECONDS = 60.0
_WORDS = 200
"""Characters of what an endpoint says, in a message of ours."""

_BUSY = {408, 409, 429}
_KEY_REFUSED = {401, 403}
_BODY_REFUSED = {400, 413, 422}


class BodyRefusedError(Exception):
    """The endpoint will not take this body, as it is; another one it may."""


class _BusyError(Exception):
    """Another try may help."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Reason(BaseModel):
    message: str = ""


class _Problem(BaseModel):
    error: _Reason = Field(default_factory=_Reason)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What an endpoint is asked for, and which settings say so.

    Attributes:
        settings: what their names begin with.
        model: the one that names the model.
    """

    settings: str
    model: str


EMBEDDINGS = Purpose("FACTORY_EMBEDDING", "FACTORY_EMBEDDER")
SUMMARIES = Purpose("FACTORY_SUMMARY", "FACTORY_SUMMARY_MODEL")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is asked.

    Attributes:
        url: of what is asked for, whole.
        purpose: whose settings are named where something is wrong.
        header: what the key goes in.
        key: shown in no message; None where none is needed.
        plain_http: whether texts and key may go to another machine unencrypted.

    Raises:
        SettingsError: it is no address of http, or they would go in clear where they may not.
    """

    url: str
    purpose: Purpose
    header: str = "Authorization"
    key: str | None = field(default=None, repr=False)
    plain_http: bool = False

    def __post_init__(self) -> None:
        try:
            parts = httpx.URL(self.url)
        except httpx.InvalidURL:
            parts = httpx.URL("")
        if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo:
            raise SettingsError(
                f"{self.purpose.settings}_URL is no address of an endpoint",
                hint="it is like https://api.openai.com/v1, or https://NAME.openai.azure.com; a key"
                " is no part of it",
            )
        if parts.scheme == "http" and not self.plain_http and not is_loopback(parts.host):
            raise SettingsError(
                f"whoever is on the way to {parts.host} could read every text: they would go by"
                " plain http",
                hint="use https; where nobody else is on the way, set"
                f" {self.purpose.settings}_PLAIN_HTTP=true",
            )
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise SettingsError(f"{self.purpose.settings}_KEY has characters that no key has")

    @property
    def host(self) -> str:
        return httpx.URL(self.url).netloc.decode()

    @property
    def headers(self) -> dict[str, str]:
        if self.key is None:
            return {}
        is_bearer = self.header == "Authorization"
        return {self.header: f"Bearer {self.key}" if is_bearer else self.key}

    def without_key(self, words: str) -> str:
        """Something that the endpoint said, on one line, short, and without the key."""
        shown = words.replace(self.key, "***") if self.key else words
        printable = "".join(c if c.isprintable() else " " for c in shown)
        return " ".join(printable.split())[:_WORDS]


class Caller:
    """Keeps the connections to one endpoint. Safe to use from many threads, and after a fork.

    Args:
        endpoint: which.
        answer_bytes: no longer answer is read.
        sleep: how it waits before another try, in seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        answer_bytes: int,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._endpoint = endpoint
        self._answer_bytes = answer_bytes
        self._sleep = sleep
        self._http: httpx.Client | None = None
        self._process = 0
        self._lock = threading.Lock()

    def post(self, body: Mapping[str, Any]) -> bytes:
        """What the endpoint answers.

        Raises:
            BodyRefusedError: it does not take the body.
            MemoryUnavailableError: it does not answer, or lets nobody in, or not us.
        """
        content = json.dumps(body).encode()
        until = time.monotonic() + _PATIENCE
        for pause in (*_PAUSES, None):
            try:
                return self._ask(content)
            except _BusyError as busy:
                asked = busy.retry_after
                wait = max(pause or 0.0, asked.total_seconds() if asked else 0.0)
                if pause is None or time.monotonic() + wait > until:
                    raise MemoryUnavailableError(str(busy), retry_after=asked) from busy
            self._sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _ask(self, content: bytes) -> bytes:
        host = self._endpoint.host
        until = time.monotonic() + _ANSWER_SECONDS
        headers = {"Content-Type": "application/json", **self._endpoint.headers}
        try:
            with self._client().stream(
                "POST", self._endpoint.url, content=content, headers=headers
            ) as answer:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > self._answer_bytes:
                        raise MemoryUnavailableError(f"{host} answers with more than is asked for")
                    if time.monotonic() > until:
                        raise _BusyError(f"{host} takes longer than {_ANSWER_SECONDS:g} s")
                self._refuse(answer, bytes(body))
                return bytes(body)
        except httpx.HTTPError as exc:
            raise _BusyError(
                f"{host} does not answer: {type(exc).__name__}"
                f" {self._endpoint.without_key(str(exc))}".rstrip()
            ) from exc

    def _refuse(self, answer: httpx.Response, body: bytes) -> None:
        """Return where the answer is one to the question."""
        host, status, purpose = self._endpoint.host, answer.status_code, self._endpoint.purpose
        if answer.is_success:
            return
        message = f"{host} answers {status}: {self._said(body)}".rstrip(": ")
        if status in _BUSY or status >= 500:
            raise _BusyError(message, _retry_after(answer.headers))
        if status in _KEY_REFUSED:
            raise MemoryUnavailableError(
                f"{host} does not let us in: it answers {status}",
                hint=f"look at {purpose.settings}_KEY, and at what it may be used for",
            )
        if status in _BODY_REFUSED:
            raise BodyRefusedError(message)
        raise MemoryUnavailableError(
            message, hint=f"look at {purpose.settings}_URL and at the model in {purpose.model}"
        )

    def _said(self, body: bytes) -> str:
        try:
            reason = _Problem.model_validate_json(body).error
        except ValidationError:
            return ""
        return self._endpoint.without_key(reason.message)

    def _client(self) -> httpx.Client:
        with self._lock:
            # A connection of the parent's is not one of ours.
            if self._http is None or self._process != os.getpid():
                self._process = os.getpid()
                # A proxy would read what goes by plain http. Of https it is told the host alone.
                is_tls = httpx.URL(self._endpoint.url).scheme == "https"
                self._http = httpx.Client(
                    timeout=_TIMEOUT, trust_env=is_tls, follow_redirects=False
                )
                # Nobody is told when a model is used for the last time.
                weakref.finalize(self, self._http.close)
            return self._http


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    seconds = headers.get("retry-after", "")
    known = seconds.isascii() and seconds.isdecimal()
    return timedelta(seconds=min(int(seconds[:9]), 86_400)) if known else None
