"""A receiver of traces on a fresh loopback port: OTLP over HTTP, read with OpenTelemetry's own types."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class TracedSpan:
    """A span as it arrived; ids in hex, ``parent_id`` empty at the root."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    scope: str
    failed: bool
    attributes: Mapping[str, Any]


class Collector:
    """What it was sent; ``bodies`` has all of it, uncompressed. Refuses while ``is_refusing``."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.bodies: list[bytes] = []
        self.is_refusing = False

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that is to send here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def spans(self, trace_id: str) -> list[TracedSpan]:
        """Those of a trace so far."""
        return [span for span in self._all() if span.trace_id == trace_id]

    def _all(self) -> Generator[TracedSpan]:
        for body in list(self.bodies):
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield _read(span, scope.scope.name)


def _read(span: Any, scope: str) -> TracedSpan:
    def value_of(value: Any) -> Any:
        return getattr(value, value.WhichOneof("value"))

    return TracedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        scope=scope,
        failed=span.status.code == 2,
        attributes={one.key: value_of(one.value) for one in span.attributes},
    )


@contextmanager
def collector() -> Generator[Collector]:
    """A receiver, gone afterwards."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if not made.is_refusing:
                made.bodies.append(body)
            self.send_response(400 if made.is_refusing else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Collector(int(server.server_address[1]))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
