"""What the warm worker does with flow runs that it cannot begin; no server, no process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from prefect.client.schemas.objects import State, StateDetails
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling, Pending, Running

from deployments import worker as module
from deployments.worker import FactoryWorker

# pyright: reportPrivateUsage=false


class Server:
    """In place of what asks Prefect: every claim is had, and what is set is kept.

    ``since`` is the state that somebody else brings a claimed flow run into.
    """

    def __init__(
        self, configuration: Callable[[], Awaitable[Any]], since: State[Any] | None = None
    ) -> None:
        self._configuration = configuration
        self._since = since
        self.states: list[State[Any]] = []

    async def ask(self, question: object) -> Any:
        del question
        return await self._configuration()

    async def claim(self, flow_run: Any, worker: str) -> Any:
        details = StateDetails(transition_id=uuid4())
        claim = Pending(message=f"claimed by {worker}", state_details=details)
        self._since = self._since or claim
        return SimpleNamespace(id=flow_run.id, state=claim)

    async def read_state(self, flow_run_id: UUID) -> State[Any] | None:
        del flow_run_id
        return self._since

    async def set_state(self, flow_run_id: UUID, state: State[Any], *, force: bool = False) -> None:
        del flow_run_id, force
        self.states.append(state)


def a_worker(monkeypatch: pytest.MonkeyPatch, server: Server | None = None) -> Any:
    worker: Any = FactoryWorker("pool", limit=2)
    worker._limiter = anyio.CapacityLimiter(2)
    worker._has_successfully_synced = True
    worker._client = object()

    def serve(*_: object) -> Server | None:
        return server

    monkeypatch.setattr(module, "Patient", serve)
    return worker


def a_flow_run() -> Any:
    return SimpleNamespace(id=uuid4(), state=None)


async def never() -> None:
    await asyncio.Event().wait()


def test_what_cannot_be_configured_is_crashed_and_cancelled_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
):
    async def missing() -> None:
        raise ObjectNotFound(Exception(), "there is no block secret/token")

    async def submitted() -> list[State[Any]]:
        server = Server(missing)
        await a_worker(monkeypatch, server)._submit_run(a_flow_run())
        return server.states

    (state,) = asyncio.run(submitted())
    assert state.is_crashed()
    assert "there is no block secret/token" in str(state.message)


def test_what_is_claimed_when_the_worker_ends_is_scheduled_again(monkeypatch: pytest.MonkeyPatch):
    async def ended() -> list[State[Any]]:
        server = Server(never)
        submitting = asyncio.create_task(a_worker(monkeypatch, server)._submit_run(a_flow_run()))
        await asyncio.sleep(0.05)
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
        return server.states

    assert [one.name for one in asyncio.run(ended())] == ["Scheduled"]


def test_an_answer_that_comes_to_a_worker_that_drains_is_not_claimed(
    monkeypatch: pytest.MonkeyPatch,
):
    async def claimed() -> list[Any]:
        worker = a_worker(monkeypatch)
        asked, answer = asyncio.Event(), asyncio.Event()

        async def ask(*_: object) -> list[Any]:
            asked.set()
            await answer.wait()
            return [SimpleNamespace(flow_run=a_flow_run())]

        monkeypatch.setattr(module, "ask_scheduled", ask)
        polling = asyncio.create_task(worker._get_scheduled_flow_runs())
        await asked.wait()
        await worker.drain()
        answer.set()
        return await polling

    assert asyncio.run(claimed()) == []


def test_nothing_is_claimed_before_there_is_a_process(monkeypatch: pytest.MonkeyPatch):
    async def claimed() -> list[Any]:
        asked: list[object] = []

        async def ask(*_: object) -> list[Any]:
            asked.append(1)
            return []

        monkeypatch.setattr(module, "ask_scheduled", ask)
        await a_worker(monkeypatch).get_and_submit_flow_runs()
        return asked

    assert asyncio.run(claimed()) == []


ANOTHERS = Pending(message="claimed by another", state_details=StateDetails(transition_id=uuid4()))


@pytest.mark.parametrize(
    ("since", "then"),
    [
        (None, ["Scheduled"]),
        (ANOTHERS, []),
        (Running(), []),
        (Cancelled(), []),
        (Cancelling(), ["Cancelled"]),
    ],
    ids=["as-claimed", "claimed-by-another", "running", "cancelled", "cancelling"],
)
def test_what_waits_too_long_for_a_process_is_scheduled_again_if_it_is_still_this_worker_s(
    monkeypatch: pytest.MonkeyPatch, since: State[Any] | None, then: list[str]
):
    async def at_once() -> Any:
        return SimpleNamespace()

    async def submitted() -> list[State[Any]]:
        monkeypatch.setattr(module, "_BORROW_SECONDS", 0.05)
        server = Server(at_once, since)
        worker = a_worker(monkeypatch, server)

        async def run_hooks(flow_run_id: UUID, name: str) -> None:
            del flow_run_id
            assert name == "on_cancellation"

        worker._pool.run_hooks = run_hooks
        await worker._submit_run(a_flow_run())
        return server.states

    assert [one.name for one in asyncio.run(submitted())] == then


def test_prefects_look_out_for_cancels_forgets_what_is_over(monkeypatch: pytest.MonkeyPatch):
    async def at_once() -> Any:
        return SimpleNamespace()

    async def submitted() -> tuple[Any, list[Any]]:
        monkeypatch.setattr(module, "_BORROW_SECONDS", 0.05)
        worker, flow_run = a_worker(monkeypatch, Server(at_once)), a_flow_run()
        forgotten: list[Any] = []
        forget = SimpleNamespace(remove_in_flight_flow_run_id=forgotten.append)
        worker._cancelling_observer = forget
        await worker._submit_run(flow_run)
        return flow_run.id, forgotten

    flow_run_id, forgotten = asyncio.run(submitted())
    assert forgotten == [flow_run_id]
