"""A receiver on a fresh loopback port: OTLP over HTTP, read with OpenTelemetry's own types."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
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


@dataclass(frozen=True)
class SentLine:
    """A line of a log as it arrived; ids in hex, empty where it has none."""

    logger: str
    severity: str
    body: str
    trace_id: str
    span_id: str
    attributes: Mapping[str, Any]


class Collector:
    """What it was sent; ``bodies`` has all of it, uncompressed. Refuses while ``is_refusing``."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.asked: list[tuple[str, bytes]] = []
        self.is_refusing = False

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that is to send here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BLRP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in list(self.asked)]

    def spans(self, trace_id: str | None = None) -> list[TracedSpan]:
        """Those of a trace so far, or of all."""
        return [span for span in self._all() if trace_id in (None, span.trace_id)]

    def lines(self) -> list[SentLine]:
        """All lines of logs so far."""
        return [
            SentLine(
                scope.scope.name,
                line.severity_text,
                line.body.string_value,
                line.trace_id.hex(),
                line.span_id.hex(),
                _attributes(line),
            )
            for request in self._requests("/v1/logs", ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for line in scope.log_records
        ]

    def metrics(self) -> dict[str, Any]:
        """Each metric by its name, as it was sent last."""
        return {
            metric.name: metric
            for request in self._requests("/v1/metrics", ExportMetricsServiceRequest)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def _requests(self, path: str, kind: Callable[[], Any]) -> Generator[Any]:
        for asked, body in list(self.asked):
            if asked == path:
                request = kind()
                request.ParseFromString(body)
                yield request

    def _all(self) -> Generator[TracedSpan]:
        for request in self._requests("/v1/traces", ExportTraceServiceRequest):
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield _read(span, scope.scope.name)


def _attributes(owner: Any) -> dict[str, Any]:
    """Of a span, of a line, or of a point."""
    values = {one.key: one.value for one in owner.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def _read(span: Any, scope: str) -> TracedSpan:
    return TracedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        scope=scope,
        failed=span.status.code == 2,
        attributes=_attributes(span),
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
                made.asked.append((self.path, body))
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
