"""A flow run that a warm worker claims is that worker's, or everybody's again; never nobody's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    temporary_settings,
)

from deployments import claims
from deployments.claims import Patient, claim_of, is_lost
from tests.prefect_server import Prefect

pytestmark = pytest.mark.slow

POOL = "claimed"


class LossyClient:
    """A client whose server does what it is asked; the answer is lost, so many times."""

    def __init__(self, client: PrefectClient, losses: int) -> None:
        self._client = client
        self._losses = losses

    async def request(self, *args: Any, **kwargs: Any) -> httpx.Response:
        answer = await self._client.request(*args, **kwargs)
        self._losses -= 1
        if self._losses >= 0:
            raise httpx.ReadError("the connection was lost")
        return answer


@pytest.fixture(autouse=True)
def settings(prefect: Prefect) -> Iterator[None]:
    with temporary_settings(
        {PREFECT_API_URL: prefect.api_url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}
    ):
        yield


@pytest.fixture
def flow_run_id(prefect: Prefect) -> UUID:
    """One that waits in the pool for a worker."""
    try:
        prefect.ask("GET", f"/work_pools/{POOL}")
    except httpx.HTTPStatusError:
        prefect.ask("POST", "/work_pools/", {"name": POOL, "type": "factory"})
    flow = prefect.ask("POST", "/flows/", {"name": "claimed"})
    wanted = {"name": "claimed", "flow_id": flow["id"], "work_pool_name": POOL}
    deployment = prefect.ask("POST", "/deployments/", wanted)["id"]
    body = {"state": {"type": "SCHEDULED"}}
    path = f"/deployments/{deployment}/create_flow_run"
    return UUID(prefect.ask("POST", path, body)["id"])


def with_client(does: Callable[[PrefectClient], Awaitable[Any]]) -> Any:
    async def doing() -> Any:
        async with get_client() as client:
            return await does(client)

    return asyncio.run(doing())


def claimed(flow_run_id: UUID, worker: str, losses: int = 0) -> FlowRun | None:
    told: list[Exception] = []

    async def ask(client: PrefectClient) -> FlowRun | None:
        flow_run = await client.read_flow_run(flow_run_id)
        lossy: Any = LossyClient(client, losses)
        return await Patient(lossy, told.append).claim(flow_run, worker)

    found = with_client(ask)
    assert len(told) == losses
    return found


@pytest.mark.soak
def test_a_claim_whose_answers_are_lost_is_still_this_worker_s_and_no_other_s(
    flow_run_id: UUID, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(claims, "_AGAIN_SECONDS", 0)
    ours = claimed(flow_run_id, "one", losses=2)
    assert ours is not None
    assert claimed(flow_run_id, "two") is None
    shown = with_client(lambda client: client.read_flow_run(flow_run_id)).state
    assert claim_of(shown) == claim_of(ours.state) is not None
    assert not is_lost(shown, claim_of(ours.state) or flow_run_id)


def test_what_a_worker_has_left_is_claimed_by_another_and_the_first_has_lost_it(
    prefect: Prefect, flow_run_id: UUID, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(claims, "_BEGIN_WITHIN", timedelta(0))
    left = claimed(flow_run_id, "gone")
    assert left is not None
    mine = claim_of(left.state)
    assert mine is not None

    def look(worker: str, *in_hand: UUID) -> tuple[str, str]:
        with_client(lambda client: claims._give_back(client, POOL, worker, in_hand))  # pyright: ignore[reportPrivateUsage] - one look of those that are made for ever
        return prefect.state(str(flow_run_id))

    heartbeat = {"name": "gone", "heartbeat_interval_seconds": 30}
    prefect.ask("POST", f"/work_pools/{POOL}/workers/heartbeat", heartbeat)
    assert look("other") == ("PENDING", "Pending"), "its worker lives"
    assert look("gone", flow_run_id) == ("PENDING", "Pending"), "it has it in hand"
    assert look("gone") == ("SCHEDULED", "Scheduled"), "one of that name, started anew, has not"

    shown = with_client(lambda client: client.read_flow_run(flow_run_id)).state
    assert is_lost(shown, mine)
    again = claimed(flow_run_id, "other")
    assert again is not None
    assert is_lost(again.state, mine)


def test_what_our_record_shows_of_a_run_takes_no_claim(prefect: Prefect, flow_run_id: UUID):
    ours = claimed(flow_run_id, "one")
    assert ours is not None
    mine = claim_of(ours.state)
    assert mine is not None
    running = {"type": "RUNNING", "message": "run-1 is running"}
    for state in ({"type": "PENDING", "name": "Queued"}, running):
        body = {"state": state, "force": True}
        prefect.ask("POST", f"/flow_runs/{flow_run_id}/set_state", body)
        shown = with_client(lambda client: client.read_flow_run(flow_run_id)).state
        assert not is_lost(shown, mine)
