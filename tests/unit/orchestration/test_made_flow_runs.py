"""Flow runs that are made for jobs sent elsewhere: none is left that nobody will ever begin."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.records import OutboxMessage
from factory_runtime.orchestration import flow_runs, sent_jobs
from factory_runtime.orchestration.labels import tags_of
from factory_runtime.orchestration.sent_jobs import SentJobs
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.engine import Walk
from factory_runtime.services.topics import SEND_JOB
from tests.builders import TENANT
from tests.routed import Routed
from tests.small_factory import SmallFactory, steps


class FlowRun:
    """The one flow run that Prefect makes; ``meanwhile`` happens before it has answered."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.states = list[str]()
        self.tags = list[str]()
        self._meanwhile = meanwhile

    def ask(self, method: str, path: str, body: Any = None, **_place: Any) -> Any:
        if path.endswith("/create_flow_run"):
            self.states.append(body["state"]["type"])
            self.tags = body["tags"]
            answer = self._answer()
            self._meanwhile()
            return answer
        if method == "POST":
            self.states.append(body["state"]["type"])
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        kind = self.states[-1]
        return {"id": "there-1", "state_type": kind, "state_name": kind, "run_count": 0}


@pytest.fixture
def routed(tmp_path: Path) -> Generator[Routed]:
    factory = SmallFactory(tmp_path / "templates")
    yield Routed(factory)
    factory.store.close()


def send(routed: Routed, monkeypatch: pytest.MonkeyPatch, flow_run: FlowRun) -> None:
    """What the outbox's handler does of the message of the one job that was sent."""

    def find_route(_route: object) -> str:
        return "deployment-1"

    monkeypatch.setattr(sent_jobs, "ask", flow_run.ask)
    monkeypatch.setattr(flow_runs, "ask", flow_run.ask)
    monkeypatch.setattr(sent_jobs, "find_route", find_route)
    SentJobs(routed.factory.store).send(message(routed))


def message(routed: Routed) -> OutboxMessage:
    (one,) = routed.factory.messages(SEND_JOB)
    return one


def sent(routed: Routed) -> Walk:
    walk = routed.start(steps("ship:"))
    routed.send(walk, "ship")
    return walk


def test_a_flow_run_is_for_workers_to_begin_once_its_job_knows_it(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
):
    walk, flow_run = sent(routed), FlowRun(lambda: None)
    send(routed, monkeypatch, flow_run)
    assert flow_run.states == ["PENDING", "SCHEDULED"]
    assert routed.job(walk.run, "ship").routed_flow_run_id == "there-1"


def test_its_flow_run_bears_the_tags_of_its_run(routed: Routed, monkeypatch: pytest.MonkeyPatch):
    walk, flow_run = sent(routed), FlowRun(lambda: None)
    send(routed, monkeypatch, flow_run)
    assert flow_run.tags == tags_of(walk.run)


def test_one_whose_job_went_on_while_it_was_made_is_cancelled(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
):
    walk = sent(routed)
    run = routed.put_down(walk)

    def cancel() -> None:
        cancel_run(routed.factory.store, routed.factory.clock, TENANT, run.id, "ada")

    flow_run = FlowRun(cancel)
    send(routed, monkeypatch, flow_run)
    assert flow_run.states == ["PENDING", "CANCELLED"]


def test_one_that_another_sender_has_let_a_worker_begin_is_let_be(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
):
    walk = sent(routed)
    run = routed.put_down(walk)

    def others() -> None:
        assert routed.do(routed.deliver(run, "ship"))
        flow_run.states.append("COMPLETED")

    flow_run = FlowRun(others)
    send(routed, monkeypatch, flow_run)
    assert flow_run.states == ["PENDING", "COMPLETED"]
