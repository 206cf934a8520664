"""When Prefect is told of a run's status, and when its own word of the flow run stands."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration import flow_runs
from factory_runtime.orchestration.flow_runs import show_status
from tests.builders import NOON, a_run


class FlowRun:
    """A flow run in Prefect, and the states that it was brought into since."""

    def __init__(self, kind: str, name: str) -> None:
        self.states = [(kind, name)]

    def ask(self, method: str, path: str, body: Any = None, **place: Any) -> Any:
        del path
        if method == "POST":
            self.states.append((body["state"]["type"], body["state"]["name"]))
        kind, name = self.states[-1]
        return {"id": place["id"], "state_type": kind, "state_name": name, "run_count": 0}


def shown(monkeypatch: pytest.MonkeyPatch, run: Run, kind: str, name: str) -> list[tuple[str, str]]:
    """What the flow run was brought into by a status that is told now."""
    flow_run = FlowRun(kind, name)
    monkeypatch.setattr(flow_runs, "ask", flow_run.ask)
    show_status(run)
    return flow_run.states[1:]


def a_flow_run_s(status: RunStatus, *, admitted: bool = True) -> Run:
    return a_run(
        status=status, flow_run_id=str(uuid4()), admitted_at=NOON if admitted else None, version=3
    )


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("SCHEDULED", "AwaitingRetry"),
        ("PENDING", "Pending"),
        ("PENDING", "Submitting"),
        ("RUNNING", "Running"),
    ],
)
def test_a_status_that_is_told_late_paints_over_no_worker_s_claim(
    monkeypatch: pytest.MonkeyPatch, status: RunStatus, kind: str, name: str
):
    assert shown(monkeypatch, a_flow_run_s(status), kind, name) == []


def test_a_run_without_a_slot_is_shown_as_queued_over_a_claim(monkeypatch: pytest.MonkeyPatch):
    run = a_flow_run_s(RunStatus.RUNNING, admitted=False)
    assert shown(monkeypatch, run, "PENDING", "Pending") == [("PENDING", "Queued")]


@pytest.mark.parametrize(("kind", "name"), [("PENDING", "Queued"), ("PAUSED", "Waiting")])
def test_a_run_is_shown_as_running_where_nobody_is_at_its_flow_run(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str
):
    run = a_flow_run_s(RunStatus.RUNNING)
    assert shown(monkeypatch, run, kind, name) == [("RUNNING", "Running")]


def test_an_ended_run_is_shown_whoever_is_at_it(monkeypatch: pytest.MonkeyPatch):
    run = a_flow_run_s(RunStatus.FAILED, admitted=False)
    assert shown(monkeypatch, run, "RUNNING", "Running") == [("FAILED", "Failed")]
