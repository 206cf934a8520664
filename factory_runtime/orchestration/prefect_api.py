"""One question to Prefect's API, its answer as JSON, its errors as ours. Safe from many threads."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import certifi
import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_TLS_INSECURE_SKIP_VERIFY

from factory_runtime.domain.errors import (
    HostRejectedError,
    NotFoundError,
    PrefectFailedError,
    PrefectUnavailableError,
)

if TYPE_CHECKING:
    from prefect.client.orchestration.routes import ServerRoutes

_LATER = frozenset({401, 403, 404, 408, 429})
"""Answers below 500 that are not about what was sent: of a server that is busy, or not set up."""

_TIMEOUT = 15.0
_NO_MORE_TRIES_AFTER = 5.0
"""Seconds. What answers 502 or 503 is asked again by Prefect's client, in a process that executes
flows for minutes; who asks here has something else to do, and comes again."""


class GoneError(NotFoundError):
    """What the path names was deleted in Prefect."""


def ask(
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
    path: ServerRoutes,
    body: Any = None,
    query: Mapping[str, Any] | None = None,
    **names: object,
) -> Any:
    """Send one request.

    Args:
        method: of HTTP.
        path: a route, like ``/flow_runs/{id}``.
        body: what becomes JSON.
        query: what stands behind the path.
        names: what the route names, like ``id``.

    Raises:
        PrefectUnavailableError: no server answers, or it cannot answer now.
        PrefectFailedError: it answers with a failure of its own: 5xx.
        GoneError: it does not know what the path names.
        HostRejectedError: it refuses the body, and will again.
    """
    try:
        # A client for each: one that has been answered once waits, for minutes, for a server that
        # is gone, and is made for one thread. With no certificates to read it takes 0.7 ms.
        tries = _Tries()
        hooks = {"request": [tries.before], "response": [tries.after]}
        ours: dict[str, Any] = {"timeout": _TIMEOUT, "event_hooks": hooks, "verify": _trusted()}
        with get_client(sync_client=True, httpx_settings=ours) as client:
            answer = client.request(
                method, path, params=dict(query or {}), path_params=names, json=body
            )
            return answer.json() if answer.content else None
    except httpx.HTTPStatusError as exc:
        raise _translated(exc, names) from exc
    except (httpx.HTTPError, OSError) as exc:
        raise PrefectUnavailableError(
            f"Prefect does not answer {path}: {exc}",
            hint="`factory doctor` tells whether the server answers",
        ) from exc


class _Tries:
    """Of one question: Prefect's client makes them, and is told here to make no more."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._status: int | None = None

    def before(self, request: httpx.Request) -> None:
        """Raise an error that Prefect's client does not try again after, once it took too long."""
        now = time.monotonic()
        self._first = self._first or now
        took = now - self._first
        if took > _NO_MORE_TRIES_AFTER:
            path = request.url.path
            if self._status is not None and self._status >= 500:
                raise PrefectFailedError(f"Prefect answers {path} with {self._status}")
            raise PrefectUnavailableError(f"Prefect had no answer to {path} for {took:.0f} s")
        self._status = None

    def after(self, response: httpx.Response) -> None:
        self._status = response.status_code


def _trusted() -> ssl.SSLContext:
    """Whom to trust, as Prefect's settings have it; its client would read it for each question."""
    if PREFECT_API_TLS_INSECURE_SKIP_VERIFY.value():
        return _trust_all()
    return _trust(PREFECT_API_SSL_CERT_FILE.value() or certifi.where())


@lru_cache(maxsize=4)
def _trust(file: str) -> ssl.SSLContext:
    """Reads 20 ms long, where all the authorities of the world are in the file."""
    return ssl.create_default_context(cafile=file)


@lru_cache
def _trust_all() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _translated(exc: httpx.HTTPStatusError, names: Mapping[str, object]) -> Exception:
    status = exc.response.status_code
    what = f"Prefect answers {exc.request.url.path} with {status}"
    if status == 404 and names:
        return GoneError(what)
    if 400 <= status < 500 and status not in _LATER:
        return HostRejectedError(what)
    if status >= 500:
        return PrefectFailedError(what)
    return PrefectUnavailableError(what)
