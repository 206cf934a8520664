"""Gives every request an id, a line in the log, and an answer even when the code fails."""

import re
import time
from uuid import uuid4

import structlog
from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import problem

# What comes from outside ends up in logs and headers: take only what is harmless there.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
PROBES = frozenset({"/health", "/ready"})

log = structlog.get_logger(__name__)


class RequestLog:
    """ASGI middleware; it adds no task and buffers no body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            except Exception as exc:
                trace.get_current_span().record_exception(exc)
                log.exception("unhandled error")
                if status is not None:
                    raise  # half an answer is out: only closing the connection says so
                await problem(500, "something went wrong here")(scope, receive, send_with_id)
            finally:
                self._write_line(scope, status, time.perf_counter() - started)

    def _write_line(self, scope: Scope, status: int | None, seconds: float) -> None:
        write = log.debug if scope["path"] in PROBES else log.info
        write(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round(seconds * 1000, 1),
        )
