"""W3C trace context in and out: a caller's trace goes on to the last line of what comes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from factory_runtime.telemetry.trace_context import (
    TraceContext,
    job_span_id,
    read_traceparent,
    root_span_id,
)
from factory_runtime.telemetry.tracing import current_trace_id
from tests.api.site import ApiSite, somebody
from tests.otlp import collector

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def client(small_site: ApiSite) -> TestClient:
    return small_site.client(somebody())


def context_of(answer: Any) -> TraceContext:
    """What an answer says of its trace."""
    said = read_traceparent(answer.headers.get_list("traceparent"))
    assert said is not None
    return said


@pytest.mark.parametrize("given", [CALLER, f"  {CALLER}\t", f"cc-{TRACE}-{SPAN}-00-more"])
def test_a_callers_trace_goes_on(client: TestClient, given: str) -> None:
    answer = client.get("/api/v1/runs", headers={"traceparent": given})
    assert answer.status_code == 200
    assert context_of(answer).trace_id == TRACE
    assert context_of(answer).span_id != SPAN


@pytest.mark.parametrize(
    "given",
    [
        [],
        [""],
        ["nothing"],
        [CALLER.upper()],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"{CALLER}-more"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE[1:]}-{SPAN}-01"],
        [f"cc-{TRACE}-{SPAN}-01more"],
        [f"cc-{TRACE}-{SPAN}-01-\u00e9"],
        ["x" * 8000],
        [CALLER, CALLER],
    ],
)
def test_a_malformed_one_begins_a_new_trace_and_is_no_error(
    client: TestClient, given: list[str]
) -> None:
    headers: Any = [(b"traceparent", value.encode("latin-1")) for value in given]
    answers = [client.get("/api/v1/runs", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    traces = {context_of(answer).trace_id for answer in answers}
    assert len(traces) == 2
    assert TRACE not in traces


def test_every_problem_names_the_trace_that_its_answer_does(
    small_site: ApiSite, client: TestClient
) -> None:
    app = small_site.app()

    def break_down() -> None:
        raise RuntimeError("a bug")

    app.add_api_route("/bug", break_down)
    broken = TestClient(app, raise_server_exceptions=False)
    answers = [
        client.get("/api/v1/runs/run-none"),
        client.post("/api/v1/runs", content=b"{", headers={"content-type": "application/json"}),
        client.get("/nowhere"),
        small_site.client().get("/api/v1/runs"),
        broken.get("/bug"),
    ]
    assert [answer.status_code for answer in answers] == [404, 400, 404, 401, 500]
    for answer in answers:
        assert answer.json()["traceId"] == context_of(answer).trace_id
    assert current_trace_id() is None


def test_a_request_without_a_trace_gives_its_run_the_one_that_it_answers(
    small_site: ApiSite, client: TestClient
) -> None:
    body = {"templateRecipeId": "service", "inputs": {"service_name": "orders"}}
    answer = client.post("/api/v1/runs", json=body)
    assert answer.json()["traceId"] == context_of(answer).trace_id
    refused = client.post("/api/v1/runs", json=body | {"inputs": {"service_name": "Ü"}})
    run = small_site.stands("acme", refused.json()["runId"])
    assert run.trace_id == context_of(refused).trace_id == refused.json()["traceId"]


def test_from_the_request_to_the_commit_everything_names_one_trace(tmp_path: Path) -> None:
    with collector() as collected:
        done = subprocess.run(
            [sys.executable, "-m", "tests.api.traced_run", tmp_path, CALLER],
            env=os.environ | collected.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        spans, sent = collected.spans(), collected.lines()
    told = json.loads(done.stdout)
    run_id, server = told["asked"]["runId"], told["traceparent"].split("-")
    make = job_span_id(run_id, "make")
    assert server[1] == told["asked"]["traceId"] == told[""]["traceId"] == TRACE
    # the record, as the API tells of it
    jobs = {job["step"]: job for job in told["/jobs"]["items"]}
    assert {step: job["spanId"] for step, job in jobs.items()} == {
        step: job_span_id(run_id, step) for step in ("make", "check")
    }
    for part in ("/events", "/logs", "/artifacts", "/all-artifacts"):
        items = told[part]["items"]
        assert items
        assert {item["traceId"] for item in items} == {TRACE}, part
        assert {i["spanId"] for i in items if i.get("step") == "make"} == {make}, part
    # what others see
    (attempt,) = jobs["make"]["attempts"]
    headers = json.loads(told[""]["outputs"]["made"])
    assert read_traceparent([headers["traceparent"]]) == TraceContext(TRACE, attempt["spanId"])
    (repository,) = tmp_path.glob("home/git/**/orders.git")
    shape = "--format=%(trailers:key=Factory-Trace,valueonly,separator=)"
    shown = subprocess.check_output(["git", "log", "-1", shape, told["commit"]], cwd=repository)
    assert shown.decode().strip() == TRACE
    # spans: the caller's, the server's, the request's, the jobs', the attempts'
    assert {span.scope for span in spans} == {"factory"}
    names = {span.span_id: span.name for span in spans if span.trace_id == TRACE}
    served = names[server[2]]
    assert (served[:6], served[-5:]) == ("POST /", "/runs")
    above = {(s.name, names.get(s.parent_id, s.parent_id)) for s in spans if s.trace_id == TRACE}
    assert above == {(served, SPAN), ("request", served), ("job", "request"), ("attempt", "job")}
    others = sorted(span.name.split("/")[-1] for span in spans if span.trace_id != TRACE)
    assert others == ["artifacts", "artifacts", "events", "jobs", "logs", "{runId}"]
    assert {root_span_id(run_id), make, attempt["spanId"]} <= names.keys()
    # the log
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    (line,) = [line for line in lines if line["logger"] == "factory.tested"]
    dimensions = {"tenantId": "acme", "projectId": "default", "runId": run_id, "step": "make"}
    traced = {"attempt": 1, "traceId": TRACE, "spanId": attempt["spanId"]}
    assert line.items() >= {**dimensions, **traced, "jobId": jobs["make"]["jobId"]}.items()
    (sent_line,) = [one for one in sent if one.logger == "factory.tested"]
    assert (sent_line.trace_id, sent_line.span_id) == (TRACE, attempt["spanId"])
    assert sent_line.body == "attempt 1 made …"
