"""How this process logs: lines of text for people, or one JSON object a line for programs.

No line can be forged: whatever is logged, a line that begins with a time was begun by us. Nor can one
be of any length.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from factory_runtime.telemetry import worker_name
from factory_runtime.telemetry.otlp import is_wanted, opened
from factory_runtime.telemetry.trace_context import current_context

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
Dimension = str | int

_LONGEST_MESSAGE = 8_000
_LONGEST_ERROR = 32_000
"""Characters. Of a traceback the end is kept: it says what went wrong."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")
_NO_DIMENSIONS: Mapping[str, Dimension] = {}

_started = False
_exported: logging.Handler | None = None
_around: ContextVar[Mapping[str, Dimension]] = ContextVar("factory-log", default=_NO_DIMENSIONS)


@contextmanager
def dimensions(**facts: Dimension | None) -> Generator[None]:
    """What is logged within, on threads too that are begun with these variables, is about this.

    Args:
        facts: by the names that they have in a line, like ``tenantId``; beside those around, and
            instead of them. None says nothing.
    """
    known = {name: fact for name, fact in facts.items() if fact is not None}
    token = _around.set({**_around.get(), **known})
    try:
        yield
    finally:
        _around.reset(token)


def current_dimensions() -> dict[str, Dimension]:
    """What the code that asks is about: its dimensions, and its trace and span."""
    context = current_context()
    traced = {} if context is None else {"traceId": context.trace_id, "spanId": context.span_id}
    return {**traced, **_around.get()}


def start_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Have this process, which is one of ours, log to standard error. The first counts.

    What our own loggers say goes to an OTLP endpoint too, where the environment names one.
    """
    global _started, _exported
    if _started:
        return
    _started = True
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    # Prefect's own would do, where it was imported before, and would say warnings alone.
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request
    if is_wanted("logs") and (_exported := opened("logs", _export)) is not None:
        logging.getLogger("factory").addHandler(_exported)


def flush_logs() -> None:
    """Send what there is now, and take not long: for processes that end without their exit hooks."""
    if _exported is not None:
        _exported.close()


def _export() -> logging.Handler:
    from factory_runtime.telemetry.log_export import LogExport

    return LogExport()


class TextLines(logging.Formatter):
    """For people; what goes on over several lines is indented below the first."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(name)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text without control characters."""
        whole = super().format(record).replace("\r\n", "\n")
        if len(whole) > _LONGEST_ERROR:
            whole = f"{_cut(whole, _LONGEST_MESSAGE)}\n{whole[_LONGEST_MESSAGE - _LONGEST_ERROR :]}"
        plain = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], whole)
        return plain.replace("\n", "\n    ")


class JsonLines(logging.Formatter):
    """For programs; ASCII, so that nothing in it ends a line but its end."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object; an exception stands in ``error``."""
        line: dict[str, Dimension] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage(), _LONGEST_MESSAGE),
            **current_dimensions(),
            "worker": worker_name(),
        }
        # The text first: what was hidden in it stands in the exception as it was.
        error = record.exc_text or (record.exc_info and self.formatException(record.exc_info))
        if error:
            line["error"] = error[-_LONGEST_ERROR:]
        return json.dumps({name: _whole(fact) for name, fact in line.items()})


def _whole(fact: Dimension) -> Dimension:
    """Without halves of characters, as names of files may have them: no JSON to most readers."""
    return _HALF.sub("\ufffd", fact) if isinstance(fact, str) else fact


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
