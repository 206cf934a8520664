"""What leaves this machine of the log: our sentences, without what they were filled with.

A message is ours where its code has it; what it is filled with may be a tenant's, or an error's of
somebody else. So numbers, statuses and ids of ours are filled in, and kinds of errors; the rest is not.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from factory_runtime.telemetry.logs import current_dimensions
from factory_runtime.telemetry.otlp import Losses, end_soon, resource

_LONGEST = 1000
_DELAY = "OTEL_BLRP_SCHEDULE_DELAY"
_DELAY_MILLISECONDS = 1000
_ID = re.compile(r"[a-z]{2,10}-[0-9a-z]{26}")
_TRACE_ID = re.compile("[0-9a-f]{32}")
_LEFT_OUT = "…"
_SEVERITIES = {
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}
_HUMPS = re.compile("(?<=[a-z])(?=[A-Z])")
_TRACE, _SPAN = "traceId", "spanId"


class LogExport(logging.Handler):
    """Sends what our loggers say, from info on, by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        delay = None if _DELAY in os.environ else _DELAY_MILLISECONDS
        exporter = _TellingExporter(OTLPLogExporter())
        processor = BatchLogRecordProcessor(exporter, schedule_delay_millis=delay)
        self._provider = LoggerProvider(resource=resource(), shutdown_on_exit=False)
        self._provider.add_log_record_processor(processor)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to whoever sends it; nobody waits."""
        about = current_dimensions()
        context = _context_of(about)
        kind = record.exc_info[0] if record.exc_info else None
        told = LogRecord(
            timestamp=int(record.created * 1_000_000) * 1000,
            context=context,
            severity_text=record.levelname,
            severity_number=_severity_of(record.levelno),
            body=sentence_of(record),
            attributes={
                **{
                    _named(name): fact
                    for name, fact in about.items()
                    if name not in (_TRACE, _SPAN)
                },
                **({} if kind is None else {"exception.type": kind.__name__}),
            },
        )
        self._provider.get_logger(record.name).emit(told)

    def close(self) -> None:
        """Send what is left, and stop, in a bounded time."""
        super().close()
        end_soon(self._provider.shutdown)


class _TellingExporter(LogRecordExporter):
    """Says once that it cannot."""

    def __init__(self, inner: LogRecordExporter) -> None:
        self._inner = inner
        self._losses = Losses("logs")

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send them; those that are not taken are lost."""
        result = self._inner.export(batch)
        self._losses.note(taken=result is LogRecordExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """End it; what is being sent is broken off."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return self._inner.force_flush(timeout_millis)


def sentence_of(record: logging.LogRecord) -> str:
    """What may be told of a record: its message as it is written in our code, with plain facts."""
    template = getattr(record, "template", None)  # of one that secrets were taken out of
    if isinstance(template, str):
        return template[:_LONGEST]
    said = record.msg if isinstance(record.msg, str) else _LEFT_OUT
    if isinstance(record.args, tuple) and record.args:
        try:
            said %= tuple(map(_plain, record.args))
        except (TypeError, ValueError):
            return said[:_LONGEST]  # it wants a number where something else is left out
    return said[:_LONGEST]


def _plain(fact: object) -> object:
    match fact:
        case Enum():
            return fact.value  # a status, for example: there are none but ours
        case bool() | int() | float():
            return fact
        case str() if _ID.fullmatch(fact):
            return fact
        case BaseException():
            return type(fact).__name__
        case _:
            return _LEFT_OUT


def _severity_of(level: int) -> SeverityNumber:
    return max(
        (known for known in _SEVERITIES.items() if known[0] <= level), key=lambda known: known[0]
    )[1]


def _named(dimension: str) -> str:
    """As our spans call it: ``runId`` is ``factory.run-id``."""
    return f"factory.{_HUMPS.sub('-', dimension).lower()}"


def _context_of(about: dict[str, Any]) -> Context | None:
    """The trace and the span that it is about; None is whatever OpenTelemetry knows of here."""
    # Whoever asked for the run from code may have called its trace anything.
    if not _TRACE_ID.fullmatch(str(about.get(_TRACE, ""))):
        return None
    trace_id, span_id = int(str(about[_TRACE]), 16), int(str(about.get(_SPAN, "0")), 16)
    flags = TraceFlags(TraceFlags.SAMPLED)
    span = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags))
    return set_span_in_context(span, Context())
