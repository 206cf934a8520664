"""ASGI: counts and times requests, by their route; never by what somebody made up."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factory_runtime.telemetry.metrics import IN_FLIGHT, REQUEST_SECONDS, REQUESTS

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"

_IN_MEMORY = "/dev/shm"  # noqa: S108 - the folder made there is ours alone
"""Processes count in files that they have mapped: who does so on a full disk is ended by SIGBUS."""


@contextmanager
def counting_together() -> Generator[None]:
    """Have the processes that are started meanwhile tell each other's numbers as their own."""
    place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="factory-metrics-", dir=place) as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        yield


class Measured:
    """Put it around all the others: what they refuse is counted too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, seconds = perf_counter(), 500, None

        async def seen(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], perf_counter() - began
            await send(message)

        IN_FLIGHT.inc()
        try:
            await self._app(scope, receive, seen)
        finally:
            IN_FLIGHT.dec()
            method, route = method_of(scope), route_of(scope)
            REQUESTS.labels(method, route, f"{status // 100}xx").inc()
            if seconds is not None:  # else it was a bug, or its reader left
                REQUEST_SECONDS.labels(method, route).observe(seconds)


def method_of(scope: Scope) -> str:
    """A method that is known, or ``other``."""
    return scope["method"] if scope["method"] in _METHODS else _OTHER


def route_of(scope: Scope) -> str:
    """The template of the path that was asked for; ``other`` where there is no such route."""
    return str(getattr(scope.get("route"), "path", _OTHER))
