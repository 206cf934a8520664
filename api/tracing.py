"""W3C trace context around every request: https://www.w3.org/TR/trace-context/.

A caller's trace goes on here; one whose ``traceparent`` is missing or malformed begins a new one.
The answer's ``traceparent`` names the span of the request, to be found in logs and traces.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.measure import method_of, route_of
from api.numbers import flush_numbers
from factory_runtime.telemetry import new_span_id, new_trace_id
from factory_runtime.telemetry.logs import flush_logs
from factory_runtime.telemetry.trace_context import (
    TRACEPARENT,
    TraceContext,
    read_traceparent,
)
from factory_runtime.telemetry.tracing import (
    SpanFacts,
    flush_traces,
    inside_span,
    is_sampled,
    start_tracing,
    tell_span,
)
from factory_runtime.wire.paths import API_PREFIX

UNTOLD = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
"""FastAPI's own telemetry would tell of URLs, of arguments and of what exceptions say."""

_PROBES = ("/health", "/metrics")
"""Asked by machines every few seconds."""


def trace_requests(app: FastAPI) -> None:
    """Have every answer of the application traced, those about its bugs too."""
    build = app.build_middleware_stack
    # Around what answers for bugs: a middleware that is added stands within it.
    app.build_middleware_stack = lambda: TracedRequests(build())


class TracedRequests:
    """ASGI middleware; the first of an application, as it bounds what a request is part of."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        start_tracing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, partial(_send_after_the_last, send))
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = _caller(scope)
        began, status = datetime.now(UTC), HTTPStatus.INTERNAL_SERVER_ERROR.value
        trace_id, span_id = caller.trace_id if caller else new_trace_id(), new_span_id()
        named = TraceContext(trace_id, span_id, is_sampled(trace_id))

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                said = (TRACEPARENT.encode(), str(named).encode())
                message = {**message, "headers": [*message.get("headers", ()), said]}
            await send(message)

        try:
            with inside_span(trace_id, span_id):
                await self._app(scope, receive, send_named)
        finally:
            parent_id = None if caller is None else caller.span_id
            _tell(scope, named, parent_id, began, status)


async def _send_after_the_last(send: Send, message: Message) -> None:
    """Uvicorn ends the process by its signal then, without its exit hooks."""
    if message["type"] == "lifespan.shutdown.complete":
        await asyncio.gather(*map(asyncio.to_thread, (flush_traces, flush_logs, flush_numbers)))
    await send(message)


def _caller(scope: Scope) -> TraceContext | None:
    name = TRACEPARENT.encode()
    return read_traceparent(
        [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
    )


def _tell(
    scope: Scope, context: TraceContext, parent_id: str | None, began: datetime, status: int
) -> None:
    """The route's template, never ids of it, what was asked in the query, or a body."""
    method, route = method_of(scope), route_of(scope)
    if route.removeprefix(API_PREFIX).startswith(_PROBES):
        return
    facts = SpanFacts(
        f"{method} {route}" if route.startswith("/") else method,
        context.trace_id,
        context.span_id,
        began,
        datetime.now(UTC),
        parent_id=parent_id,
        failed=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        serves=True,
        attributes={"method": method, "status": status},
    )
    tell_span(facts)
