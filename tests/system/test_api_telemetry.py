"""A real process of the API: told to stop, it sends the last of its spans, lines and numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.factory import until
from tests.otlp import collector
from tests.services import free_port

SERVING = """
import sys
from api.serve import Place, serve
from factory_runtime.settings import Settings
serve(Settings(), Place("127.0.0.1", int(sys.argv[1])), lambda: print("up", flush=True))
"""
NEVER = str(10**9)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def get(port: int, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60)


def test_an_api_that_is_told_to_stop_sends_the_last_of_everything(tmp_path: Path) -> None:
    port = free_port()
    with collector() as collected:
        waits = {name: NEVER for name in collected.environment if not name.endswith("ENDPOINT")}
        told = {"FACTORY_HOME": str(tmp_path), "FACTORY_LOG_FORMAT": "json"}
        process = subprocess.Popen(
            [sys.executable, "-c", SERVING, str(port)],
            env=os.environ | collected.environment | waits | told,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            # A machine that is busy may need a while until the store answers in time.
            until(lambda: get(port, "/health/ready").status_code == 200, "it is ready")
            answer = httpx.get(
                f"http://127.0.0.1:{port}/api/v1/runs/run-none",
                headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
                timeout=60,
            )
            assert (answer.status_code, answer.json()["traceId"]) == (404, TRACE)
            for path in ("/health/live", "/api/v1/health/live"):  # of these no span
                assert get(port, path).status_code == 200
        finally:
            process.terminate()
            _, said = process.communicate(timeout=60)
        (span,) = collected.spans()
        assert span.trace_id == TRACE
        assert (span.attributes["factory.status"], span.failed) == (404, False)
        assert b"run-none" not in b"".join(collected.bodies)
        assert "factory_api_requests" in collected.metrics()
    assert all(json.loads(line)["level"] for line in said.splitlines())
