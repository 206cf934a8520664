"""The trace that a request, a job or an attempt is part of, in the W3C form.

https://www.w3.org/TR/trace-context/. Nothing here needs OpenTelemetry: a trace id is passed on and
written down whether or not anybody collects spans.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

TRACEPARENT = "traceparent"

_VERSION_0 = "00"
_TRACEPARENT = re.compile(
    "(?!ff)(?P<version>[0-9a-f]{2})"
    "-(?!0{32})(?P<trace>[0-9a-f]{32})"
    "-(?!0{16})(?P<span>[0-9a-f]{16})"
    "-(?P<flags>[0-9a-f]{2})(?P<more>-[\x20-\x7e]*)?"
)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of somebody's, and its trace.

    Attributes:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        sampled: whether somebody keeps it.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        """As a ``traceparent`` has it."""
        return f"{_VERSION_0}-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


_around: ContextVar[TraceContext | None] = ContextVar("factory-trace", default=None)


def read_traceparent(values: Sequence[str]) -> TraceContext | None:
    """What the ``traceparent`` headers of a request say; None where there is not one good one."""
    found = _TRACEPARENT.fullmatch(values[0].strip(" \t")) if len(values) == 1 else None
    if found is None or (found["version"] == _VERSION_0 and found["more"]):
        return None
    return TraceContext(found["trace"], found["span"], bool(int(found["flags"], 16) & _SAMPLED))


def current_context() -> TraceContext | None:
    """What the code that asks is part of."""
    return _around.get()


@contextmanager
def inside_context(context: TraceContext) -> Generator[None]:
    """What is done within is part of it, on threads too that are begun with these variables."""
    token = _around.set(context)
    try:
        yield
    finally:
        _around.reset(token)


def trace_headers(context: TraceContext | None = None) -> dict[str, str]:
    """For a request to somebody else: of the context given, or else of the current one.

    Without either it is empty. There is no ``tracestate``: of ours there is nothing to say, and what
    a caller's said is not kept until a job asks, in another process.
    """
    context = current_context() if context is None else context
    return {} if context is None else {TRACEPARENT: str(context)}


def root_span_id(run_id: str) -> str:
    """The span of a run's request: 16 hex digits that every process knows."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:16]


def job_span_id(run_id: str, step: str, cycle: int = 0) -> str:
    """The span of a job: the same over its attempts, in whatever process each of them is.

    Args:
        run_id: its run's.
        step: its own.
        cycle: of the run: a job that an operator sends round again has a span of its own there.
    """
    return root_span_id(f"{run_id}:{step}:{cycle}")
