"""When a flow run is scheduled for the workers of a pool, and when a worker's claim is left alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration import flow_runs, launch
from factory_runtime.orchestration.launch import PoolLauncher
from tests.builders import NOON, a_run

PATIENCE = timedelta(minutes=5)
DEPLOYMENT = str(uuid4())


class FlowRun:
    """A flow run in Prefect since noon, and the states that it was brought into after that."""

    def __init__(self, kind: str, name: str) -> None:
        self.states = [(kind, name)]

    def ask(self, method: str, path: str, body: Any = None, **place: Any) -> Any:
        del method
        if path == "/flows/":
            return {"id": str(uuid4())}
        if body is not None:
            self.states.append((body["state"]["type"], body["state"]["name"]))
        (kind, name), since = self.states[-1], NOON.isoformat()
        return {
            "id": place.get("id", str(uuid4())),
            "state_type": kind,
            "state_name": name,
            "state": {"timestamp": since},
            "run_count": 0,
        }


class Deployments:
    """One for all runs."""

    def deployment_of(self, run: Run) -> str:
        del run
        return DEPLOYMENT

    def leads_to(self, deployment_id: str, run: Run) -> bool:
        del run
        return deployment_id == DEPLOYMENT

    def look_again(self) -> None:
        pass


def handed_over(monkeypatch: pytest.MonkeyPatch, flow_run: FlowRun, at: datetime) -> list[str]:
    """Names of the states that a run which is admitted then has its flow run brought into."""
    monkeypatch.setattr(flow_runs, "ask", flow_run.ask)
    run = a_run(status=RunStatus.QUEUED, flow_run_id=str(uuid4()), admitted_at=at)
    launcher = PoolLauncher(lambda _run: {}, "factory", PATIENCE, Deployments())
    before = len(flow_run.states)
    assert launcher.hand_over(run) == PATIENCE
    return [name for _, name in flow_run.states[before:]]


@pytest.mark.parametrize(("lapses", "states"), [(1, []), (2, []), (4, ["Scheduled"])])
def test_a_claim_is_left_to_a_worker_whose_machine_starts_slowly(
    monkeypatch: pytest.MonkeyPatch, lapses: int, states: list[str]
):
    claimed = FlowRun("PENDING", "Pending")
    assert handed_over(monkeypatch, claimed, NOON + lapses * PATIENCE) == states


@pytest.mark.parametrize(("kind", "name"), [("CRASHED", "Crashed"), ("PENDING", "Queued")])
def test_what_nobody_has_claimed_is_scheduled_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str
):
    assert handed_over(monkeypatch, FlowRun(kind, name), NOON) == ["Scheduled"]


def test_a_new_one_is_claimed_by_nobody_before_it_is_handed_over(monkeypatch: pytest.MonkeyPatch):
    made = FlowRun("PENDING", "-")
    monkeypatch.setattr(launch, "ask", made.ask)
    run = a_run(status=RunStatus.QUEUED, admitted_at=NOON)
    PoolLauncher(lambda _run: {}, "factory", PATIENCE, Deployments()).launch(run)
    assert made.states[1:] == [("PENDING", "Queued")]
    assert handed_over(monkeypatch, made, NOON) == ["Scheduled"]
