"""Traces: that of a request is that of its flow run, of its jobs and of their attempts.

Spans go where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says, as OpenTelemetry's own variables have it. Where
none of them is set, nothing is imported and nothing is done.

Our own spans have ids that stand in the record, a request's or an attempt's, whichever process tells
of them; so they are made here, and not by a tracer.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from factory_runtime.telemetry.otlp import end_soon, is_wanted, opened, resource
from factory_runtime.telemetry.trace_context import (
    TraceContext,
    current_context,
    inside_context,
    root_span_id,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanContext

TRACEPARENT_LABEL = "__OTEL_TRACEPARENT"
"""The label of a flow run that Prefect's engine takes the parent of its span from."""

_DELAY = "OTEL_BSP_SCHEDULE_DELAY"
_DELAY_MILLISECONDS = 1000
"""Processes of the stack are ended at once: with the five seconds of OpenTelemetry, more is lost."""

_SCOPE = "factory"

Attribute = str | int | bool

_LOG = logging.getLogger("factory.traces")


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """A span that is over.

    Attributes:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: likewise; None is the span of this trace that this process is in, and without one
            it is the root.
        serves: whether somebody else asked for it, over a network.
        attributes: ids and numbers of ours alone; the names get our prefix.
    """

    name: str
    trace_id: str
    span_id: str
    began: datetime
    ended: datetime
    parent_id: str | None = None
    failed: bool = False
    serves: bool = False
    attributes: Mapping[str, Attribute | None] = field(
        default_factory=dict[str, "Attribute | None"]
    )


class _Tracing:
    """Where the spans of this process go."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from factory_runtime.telemetry.span_export import CarefulExporter

        delay = None if _DELAY in os.environ else _DELAY_MILLISECONDS
        self.processor: BatchSpanProcessor = BatchSpanProcessor(
            CarefulExporter(), schedule_delay_millis=delay
        )
        self.provider: TracerProvider = TracerProvider(resource=resource(), shutdown_on_exit=False)
        if isinstance(trace.get_tracer_provider(), TracerProvider):
            # Somebody's agent has set one up: Prefect's spans go where that one says, as they are.
            _LOG.warning("traces of Prefect go to the tracer provider that this process had")
        else:
            self.provider.add_span_processor(self.processor)
            trace.set_tracer_provider(self.provider)
        atexit.register(self.close)

    def samples(self, trace_id: str) -> bool:
        """Whether spans of this trace are kept: by its id, so that all processes agree."""
        wanted = self.provider.sampler.should_sample(None, int(trace_id, 16), _SCOPE)
        return wanted.decision.is_sampled()

    def close(self) -> None:
        """Send what is left, and stop, in a bounded time."""
        end_soon(self.processor.shutdown)


_tracing: _Tracing | None = None
_tried = False
_starting = threading.Lock()


def start_tracing() -> None:
    """Have spans of this process exported, where the environment says where to. The first counts."""
    global _tracing, _tried
    if not is_wanted("traces"):
        return
    with _starting:
        if not _tried:
            _tried = True
            _tracing = opened("traces", _Tracing)


def flush_traces() -> None:
    """Send what there is now, and take not long: for processes that end without their exit hooks."""
    if _tracing is not None:
        _tracing.close()


def traceparent_of(trace_id: str, run_id: str) -> str | None:
    """What a flow run hangs below, in the W3C form; None where this process traces nothing.

    A label costs a question more to Prefect's server for every flow run, so none is given in vain.
    """
    if _tracing is None:
        return None
    return str(TraceContext(trace_id, root_span_id(run_id), _tracing.samples(trace_id)))


def current_trace_id() -> str | None:
    """The trace that this thread is in: of Prefect's flow run, or of a request to the API."""
    if (around := _around()) is not None:
        return f"{around.trace_id:032x}"
    context = current_context()
    return None if context is None else context.trace_id


def is_sampled(trace_id: str) -> bool:
    """Whether this process has spans of this trace exported."""
    return _tracing is not None and _tracing.samples(trace_id)


def mark_span(**ids: str) -> None:
    """Write ids of ours on the span that this thread is in, like ``run_id``."""
    if _tracing is None:
        return
    from opentelemetry.trace import get_current_span

    get_current_span().set_attributes(_named(ids))


def tell_span(facts: SpanFacts) -> None:
    """Have a span exported, unless its trace is not sampled."""
    if _tracing is None or not _tracing.samples(facts.trace_id):
        return
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanKind, Status, StatusCode

    span = ReadableSpan(
        name=facts.name,
        context=_context(facts.trace_id, facts.span_id),
        parent=_parent_of(facts),
        resource=_tracing.provider.resource,
        attributes=_named(facts.attributes),
        kind=SpanKind.SERVER if facts.serves else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR if facts.failed else StatusCode.OK),
        start_time=_nanoseconds(facts.began),
        end_time=_nanoseconds(facts.ended),
        instrumentation_scope=InstrumentationScope(_SCOPE),
    )
    _tracing.processor.on_end(span)


@contextmanager
def inside_span(trace_id: str, span_id: str | None) -> Generator[None]:
    """What is traced within hangs below a span that is told of later, and so does what is asked."""
    if span_id is None:
        yield
        return
    with inside_context(TraceContext(trace_id, span_id, is_sampled(trace_id))):
        if _tracing is None:
            yield
            return
        from opentelemetry.trace import NonRecordingSpan, use_span

        with use_span(NonRecordingSpan(_context(trace_id, span_id))):
            yield


def _named(facts: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    named = {f"factory.{name.replace('_', '-')}": fact for name, fact in facts.items()}
    return {name: fact for name, fact in named.items() if fact is not None}


def _around() -> SpanContext | None:
    if _tracing is None:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    return context if context.is_valid else None


def _parent_of(facts: SpanFacts) -> SpanContext | None:
    if facts.parent_id is not None:
        return _context(facts.trace_id, facts.parent_id, is_remote=True)
    around = _around()
    is_of_trace = around is not None and around.trace_id == int(facts.trace_id, 16)
    return around if is_of_trace else None


def _context(trace_id: str, span_id: str, *, is_remote: bool = False) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=is_remote, trace_flags=flags)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000
