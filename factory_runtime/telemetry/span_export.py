"""What leaves this machine of a span: ids, numbers and words of ours, and nothing that a tenant wrote.

Prefect's engine puts labels, tags, names of parameters, messages of states and whole tracebacks into
its spans. A template's author, who fills in a form and what a job met can all have put text there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from factory_runtime.telemetry.otlp import Losses

OURS = "factory."

_KEPT = frozenset(
    [
        "prefect.run.id",
        "prefect.run.type",
        "prefect.flow.id",
        "prefect.state.id",
        "prefect.state.type",
        "prefect.state.name",
        "exception.type",
    ]
)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/\[\]+-]{0,199}")
"""An id, a status, a version, the name of a job: no sentence and no markup."""
_NAME = re.compile(r"(?:render |[A-Z]{3,7} (?=/))?[A-Za-z0-9/][A-Za-z0-9._:/\[\]{}+-]{0,199}")
"""Likewise of a span; a route of the API is its template, like ``GET /runs/{runId}``."""
_RUN_ID = f"{OURS}run-id"


class CarefulExporter(SpanExporter):
    """Exports spans by OTLP over HTTP, without what is not ours to tell. Says once that it cannot."""

    def __init__(self, inner: SpanExporter | None = None) -> None:
        self._inner = OTLPSpanExporter() if inner is None else inner
        self._losses = Losses("traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; those that are not taken are lost."""
        result = self._inner.export([only_ours(span) for span in spans])
        self._losses.note(taken=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """End it; what is being sent is broken off."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return self._inner.force_flush(timeout_millis)


def only_ours(span: ReadableSpan) -> ReadableSpan:
    """The span with what may be told of it."""
    return ReadableSpan(
        name=_name_of(span),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_kept(span.attributes or {}),
        events=[
            Event(_word(event.name, "event"), _kept(event.attributes or {}), event.timestamp)
            for event in span.events
        ],
        kind=span.kind,
        status=Status(span.status.status_code),  # its description is somebody's message
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _name_of(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    if attributes.get("prefect.run.type") == "flow":
        # Who starts a flow run in Prefect may call it anything.
        return _word(attributes.get(_RUN_ID), "flow run")
    return span.name if _NAME.fullmatch(span.name) else "span"


def _word(text: Any, otherwise: str) -> str:
    return text if isinstance(text, str) and _WORD.fullmatch(text) else otherwise


def _kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in attributes.items()
        if (key in _KEPT or key.startswith(OURS)) and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    return isinstance(value, bool | int | float)
