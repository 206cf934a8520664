"""What of a span leaves the machine, and what tracing does to a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
from prefect.telemetry.run_telemetry import LABELS_TRACEPARENT_KEY

from factory_runtime.telemetry.span_export import only_ours
from factory_runtime.telemetry.trace_context import root_span_id
from factory_runtime.telemetry.tracing import TRACEPARENT_LABEL
from tests.otlp import collector

CANARY = "Tr4cedCanary5520"
RUN = "run-01m7ysxj55z4e7h9b9jygnnpt3"


def a_span(name: str = "base", **attributes: object) -> ReadableSpan:
    """What Prefect's engine makes of a run whose tenant wrote a canary wherever it could."""
    message = {"prefect.state.message": CANARY, "prefect.state.name": "Failed"}
    error = {
        "exception.message": CANARY,
        "exception.type": "ValueError",
        "exception.stacktrace": CANARY,
    }
    return ReadableSpan(
        name,
        context=SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)),
        resource=Resource({}),
        attributes={
            "prefect.run.name": CANARY,
            "prefect.run.type": "task",
            "prefect.tags": (CANARY,),
            f"prefect.run.parameter.{CANARY}": "str",
            CANARY: "a label",
            "factory.note": f"{CANARY} is a sentence",
            "factory.run-id": RUN,
            **attributes,  # pyright: ignore[reportArgumentType] - as it may come
        },
        events=[Event("Failed", message), Event(f"{CANARY} it", error)],
        status=Status(StatusCode.ERROR, CANARY),
    )


def test_ids_and_words_of_ours_are_all_that_is_left_of_a_span() -> None:
    kept = only_ours(a_span())
    assert kept.attributes == {"prefect.run.type": "task", "factory.run-id": RUN}
    assert [event.name for event in kept.events] == ["Failed", "event"]
    assert [dict(event.attributes or {}) for event in kept.events] == [
        {"prefect.state.name": "Failed"},
        {"exception.type": "ValueError"},
    ]
    assert (kept.status.status_code, kept.status.description) == (StatusCode.ERROR, None)
    assert (kept.name, kept.context) == ("base", a_span().context)
    assert CANARY not in kept.to_json()


@pytest.mark.parametrize(
    ("span", "name"),
    [
        (a_span("apply-domain[order]"), "apply-domain[order]"),
        (a_span("render base"), "render base"),
        (a_span("GET /api/v1/runs/{runId}"), "GET /api/v1/runs/{runId}"),
        (a_span("GET a b"), "span"),
        (a_span("a sentence, by somebody"), "span"),
        (a_span(CANARY, **{"prefect.run.type": "flow"}), RUN),
        (a_span(CANARY, **{"prefect.run.type": "flow", "factory.run-id": "a b"}), "flow run"),
    ],
)
def test_a_span_is_called_by_a_name_of_ours(span: ReadableSpan, name: str) -> None:
    assert only_ours(span).name == name


def test_the_label_is_the_one_that_prefect_looks_at() -> None:
    assert TRACEPARENT_LABEL == LABELS_TRACEPARENT_KEY


SCRIPT = f"""
from datetime import UTC, datetime
from factory_runtime.telemetry import tracing
tracing.start_tracing()
now = datetime.now(UTC)
print(tracing.traceparent_of("0a" * 16, "{RUN}"))
tracing.tell_span(tracing.SpanFacts("request", "0a" * 16, "0b" * 8, now, now))
with tracing.inside_span("0a" * 16, "0b" * 8):
    print(tracing.current_trace_id())
    tracing.tell_span(tracing.SpanFacts("inner", "0a" * 16, "0c" * 8, now, now))
    tracing.tell_span(tracing.SpanFacts("other", "0e" * 16, "0c" * 8, now, now, parent_id="0d" * 8))
"""


@pytest.mark.parametrize(
    ("more", "flags", "spans"),
    [
        ({}, "01", {("request", ""), ("inner", "0b" * 8)}),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "00", set[tuple[str, str]]()),
    ],
)
def test_all_processes_agree_on_what_is_sampled_and_where_it_hangs(
    more: dict[str, str], flags: str, spans: set[tuple[str, str]]
) -> None:
    with collector() as traces:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | traces.environment | more,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert {(span.name, span.parent_id) for span in traces.spans("0a" * 16)} == spans
        others = [(span.name, span.parent_id) for span in traces.spans("0e" * 16)]
        assert others == ([("other", "0d" * 8)] if spans else [])
    parent, trace_id = done.stdout.split()
    assert parent == f"00-{'0a' * 16}-{root_span_id(RUN)}-{flags}"
    assert trace_id == "0a" * 16
    assert done.stderr == ""


STARTED = """
import logging
logging.basicConfig(level=logging.INFO)
from factory_runtime.telemetry import tracing
tracing.start_tracing()
tracing.start_tracing()
print(tracing.traceparent_of("0a" * 16, "run-1") is not None)
"""


@pytest.mark.parametrize(
    ("more", "traces_anyway"),
    [
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "256"}, False),  # less than a batch
        ({"OTEL_EXPORTER_OTLP_HEADERS": f"Authorization: Bearer {CANARY}"}, True),
    ],
)
def test_variables_that_make_no_sense_end_no_process_and_are_not_shown(
    more: dict[str, str], traces_anyway: bool
) -> None:
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", STARTED],
        env=os.environ | named | more,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{traces_anyway}\n"
    assert CANARY not in done.stderr
    told = done.stderr.count("no traces: OpenTelemetry cannot be set up by its variables")
    assert told == (0 if traces_anyway else 1)
