"""Traces on a real stack: a request, its flow run, its jobs and their attempts are one trace."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.telemetry.trace_context import job_span_id, root_span_id
from tests.deployed import execute, run_of, start, unrecorded
from tests.factory import Factory, until
from tests.otlp import Collector, TracedSpan
from tests.prefect_server import Prefect
from tests.recipes import a_source, a_template
from tests.warm_cli import nursery
from tests.work_types import a_work_template

pytestmark = pytest.mark.slow

CANARY = "tr4cedcanary5520"


def asked_for(factory: Factory, traces: Collector, *words: str) -> Run:
    """A run that somebody has typed, in a shell that is traced."""
    done = subprocess.run(
        [nursery().factory, "run", *words, "--json"],
        env=factory.environment() | traces.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    run_id = re.search(r"run-[0-9a-z]{26}", done.stdout + done.stderr)
    assert run_id is not None, done.stderr
    with factory.runtime.store.begin("local", read_only=True) as tx:
        return tx.get_run(run_id[0])


def spans_of(traces: Collector, run: Run, wanted: int) -> list[TracedSpan]:
    """All spans of a run's trace, once so many have come."""
    until(lambda: len(traces.spans(run.trace_id)) >= wanted, f"{wanted} spans", 20)
    return traces.spans(run.trace_id)


def tree_of(spans: list[TracedSpan]) -> dict[str, set[str]]:
    """What hangs below what, by name."""
    names = {span.span_id: span.name for span in spans}
    tree: dict[str, set[str]] = {}
    for span in spans:
        tree.setdefault(names.get(span.parent_id, ""), set()).add(span.name)
    return tree


def test_request_run_jobs_and_attempts_hang_together_in_one_trace(
    factory: Factory, traces: Collector, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    text = a_work_template(
        "traced",
        f"name: first, type: flaky, with: {{file: '{asked}', times: 1}}",
        f"name: second, needs: [first], type: touch, with: {{file: '{tmp_path}/lines'}}",
    )
    factory.template("traced", text)
    run = asked_for(factory, traces, "traced", "--project", "traces")
    assert run.status is RunStatus.SUCCEEDED, run.error
    spans = spans_of(traces, run, 9)
    assert tree_of(spans) == {
        "": {"request"},
        "request": {run.id, "job"},
        run.id: {"first", "second"},
        "job": {"attempt"},
    }
    request = next(span for span in spans if span.name == "request")
    assert (request.span_id, request.parent_id) == (root_span_id(run.id), "")
    attempts = [span for span in spans if span.name == "attempt"]
    rows = [attempt for step in ("first", "second") for attempt in attempts_of(factory, run, step)]
    assert {row.span_id for row in rows} == {span.span_id for span in attempts}
    jobs = {span.span_id: span.attributes for span in spans if span.name == "job"}
    assert {at: facts["factory.step"] for at, facts in jobs.items()} == {
        job_span_id(run.id, step): step for step in ("first", "second")
    }
    assert {span.parent_id: span.attributes["factory.step"] for span in attempts} == {
        job_span_id(run.id, step): step for step in ("first", "second")
    }
    outcomes = sorted(
        (a.attributes["factory.step"], a.attributes["factory.outcome"]) for a in attempts
    )
    assert outcomes == [
        ("first", "succeeded"),
        ("first", "transient-error"),
        ("second", "succeeded"),
    ]
    assert {span.attributes["factory.run-id"] for span in [request, *attempts]} == {run.id}


def attempts_of(factory: Factory, run: Run, step: str) -> Any:
    with factory.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.list_attempts(run.id, step)


def test_a_run_that_begins_in_prefect_has_the_trace_of_its_flow_run(
    factory: Factory, prefect: Prefect, traces: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in traces.environment.items():
        monkeypatch.setenv(name, value)
    place = unrecorded(factory, prefect, "seen")  # in no pool: no worker is at it too
    begun = start(prefect, place, parameters={"name": "a"}, name=CANARY)
    execute(factory, begun)
    run = run_of(factory, begun, "of-the-settings")
    assert run is not None
    assert run.status is RunStatus.SUCCEEDED, run.error
    spans = spans_of(traces, run, 6)
    tree = tree_of(spans)
    assert tree[""] == {run.id}
    assert tree[run.id] == {"request", "base"}
    assert tree["base"] == {"render base"}
    assert (tree["request"], tree["job"]) == ({"job"}, {"attempt"})
    label = prefect.flow_run(begun.json()["id"])["labels"]["__OTEL_TRACEPARENT"]
    assert label.split("-")[1] == run.trace_id


def test_nothing_that_a_tenant_wrote_is_in_a_trace(factory: Factory, traces: Collector) -> None:
    factory.template("quiet", a_template("quiet"), a_source())
    said = f"{CANARY} note"
    run = asked_for(factory, traces, "quiet", "--set", f"name={CANARY}", "--set", f"note={said}")
    spans_of(traces, run, 5)
    refused = asked_for(factory, traces, "quiet", "--set", f"{CANARY}=1", "--set", "name=a")
    assert refused.status is RunStatus.FAILED
    assert [span.name for span in spans_of(traces, refused, 1)] == ["request"]
    assert spans_of(traces, refused, 1)[0].failed
    assert not any(CANARY.encode() in body for body in traces.bodies)


def test_an_endpoint_that_takes_nothing_costs_one_line_and_no_run(
    factory: Factory, traces: Collector
) -> None:
    factory.template("untold", a_template("untold"), a_source())
    traces.is_refusing = True
    try:
        done = subprocess.run(
            [nursery().factory, "run", "untold", "--set", "name=a", "--json"],
            env=factory.environment() | traces.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        traces.is_refusing = False
    assert done.returncode == 0
    assert done.stderr.count("traces are lost") == 1
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)


def test_without_an_endpoint_nothing_of_tracing_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys; from factory_runtime.bootstrap import open_runtime; open_runtime().desk;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    given = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    given["FACTORY_HOME"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", script], env=given)
    assert done.returncode == 0
