"""A Prefect server for tests, and processes that execute flow runs on it."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from factory_runtime.domain.body import Body
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration.launch import PrefectLauncher
from tests.builders import NOON, a_run

PATIENCE = 120.0
"""Seconds that a question may be asked again."""

_PLAIN = ssl.create_default_context()
"""Its address needs none, but each request would read the system's certificates to make one."""


class Prefect:
    """A server that answers, and what a test asks of it."""

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers; again and again where it is busy, or says nothing to a mere question."""
        until = time.monotonic() + PATIENCE
        while (answer := self._asked(method, path, body)) is None:
            assert time.monotonic() < until, f"{path} is busy for ever"
            time.sleep(0.1)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _asked(self, method: str, path: str, body: Any) -> httpx.Response | None:
        try:
            answer = httpx.request(
                method, self.api_url + path, json=body, timeout=30, verify=_PLAIN
            )
        except httpx.TransportError:
            if method == "GET" or path.endswith("/filter"):
                return None  # a machine with too much to do may keep it from answering in time
            raise
        return None if answer.status_code == 503 else answer  # 503: its SQLite is busy

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        return self.ask("GET", f"/flow_runs/{flow_run_id}")

    def state(self, flow_run_id: str) -> tuple[str, str]:
        """Type and name of a flow run's state."""
        found = self.flow_run(flow_run_id)
        return found["state_type"], found["state_name"]

    def history(self, flow_run_id: str) -> list[str]:
        """Names of the states that a flow run was in."""
        states = self.ask("GET", f"/flow_run_states/?flow_run_id={flow_run_id}")
        return [state["name"] for state in sorted(states, key=lambda one: one["timestamp"])]

    def force(self, flow_run_id: str, kind: str) -> None:
        """Set a state as somebody else would."""
        body = {"state": {"type": kind, "message": "by somebody else"}, "force": True}
        self.ask("POST", f"/flow_runs/{flow_run_id}/set_state", body)

    def delete(self, flow_run_id: str) -> None:
        self.ask("DELETE", f"/flow_runs/{flow_run_id}")

    def add_task_run(self, flow_run_id: str, step: str, kind: str) -> None:
        """One in a state, of which nobody knows which execution began it."""
        body = {
            "flow_run_id": flow_run_id,
            "task_key": step,
            "dynamic_key": step,
            "state": {"type": kind},
        }
        self.ask("POST", "/task_runs/", body)

    def task_runs(self, flow_run_id: str) -> list[tuple[str, str, str]]:
        """Name of each task run of a flow run, type and name of its state."""
        body = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "sort": "ID_DESC", "limit": 200}
        found = self.ask("POST", "/task_runs/filter", body)
        return [(one["task_key"], one["state_type"], one["state_name"]) for one in found]


def a_queued_run(does: str = "succeeds", **values: Any) -> Run:
    """A run with a slot, whose flow does what ``tests.flow_process`` knows by this name."""
    inputs = Body(inline={"service_name": does})
    return a_run(**{"status": RunStatus.QUEUED, "admitted_at": NOON, "inputs": inputs} | values)


def launched(does: str = "succeeds", **values: Any) -> Run:
    """A run with a flow run."""
    run = a_queued_run(does, **values)
    return replace(run, flow_run_id=a_launcher().launch(run))


def a_launcher() -> PrefectLauncher:
    return PrefectLauncher(lambda run: run.inputs.inline)


def flow_run_id(run: Run) -> str:
    assert run.flow_run_id is not None
    return run.flow_run_id


class FlowProcess:
    """A process that executes the flow runs it is told to (``tests.flow_process``)."""

    def __init__(self, home: Path, api_url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flow_process", str(home), api_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, flow_run_id: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(flow_run_id + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next that it has to say."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def execute(self, flow_run_id: str) -> dict[str, Any]:
        """How the flow run ended, and which hooks were called."""
        self.begin(flow_run_id)
        return self.hear()

    def kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(timeout=30)
