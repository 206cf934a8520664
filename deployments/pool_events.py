"""What happens to flow runs of a work pool: heard of as events, and looked for as the net."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS

_LOG = logging.getLogger("factory.worker")

_CANCELLING = "prefect.flow-run.Cancelling"
_CLAIMABLE = ("prefect.flow-run.Scheduled", "prefect.flow-run.AwaitingRetry")

_AGAIN_SECONDS = 1.0

_LOOK_EVERY = 5.0
"""Seconds between two looks for flow runs that are to be cancelled, and for the pool's id."""

_TRIES = 5

PATIENCE = 10.0
"""Seconds. Prefect's client waits ever longer for a server that is gone, and for minutes once it is
back; so it is asked anew."""


def is_away(error: BaseException | None) -> bool:
    """Whether the error says that Prefect's server does not answer now, and nothing else."""
    match error:
        case httpx.TransportError() | TimeoutError():
            return True
        case httpx.HTTPStatusError():
            return error.response.status_code in (408, 429, 502, 503, 504)
        case RuntimeError():  # Prefect's own, where its first call of all fails
            return is_away(error.__cause__)
        case _:
            return False


def is_upset(error: BaseException | None) -> bool:
    """Whether the server could not answer this one question: it may the next, or never this one."""
    match error:
        case httpx.HTTPStatusError():
            return error.response.status_code >= 500 and not is_away(error)
        case RuntimeError():
            return is_upset(error.__cause__)
        case _:
            return False


class Tries:
    """How often one question is asked: for ever while the server is away, else some times."""

    def __init__(self) -> None:
        self._left = _TRIES

    def another(self, error: BaseException) -> bool:
        """Whether to ask once more, after this error."""
        if is_away(error):
            return True
        self._left -= 1
        return is_upset(error) and self._left > 0


async def hear(
    work_pool_id: Callable[[], UUID],
    claimable: Callable[[], None],
    cancelling: Callable[[UUID], None],
) -> NoReturn:
    """Tell, for ever, that flow runs may be there to be claimed, and which are to be cancelled.

    A pool that somebody deleted and made again has another id: then it is that one's that are told.
    """
    is_told = False
    while True:
        try:
            pool_id = work_pool_id()
            # Anew each time, because the subscriber writes into it.
            wanted = EventFilter(
                event=EventNameFilter(name=[_CANCELLING, *_CLAIMABLE]),
                any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{pool_id}"]),
            )
            async with get_events_subscriber(wanted, reconnection_attempts=0) as events:
                is_told = False
                claimable()  # what happened before the connection was made went unheard
                telling = asyncio.create_task(_tell(events, claimable, cancelling))
                try:
                    while not telling.done() and work_pool_id() == pool_id:
                        await asyncio.wait({telling}, timeout=_LOOK_EVERY)
                finally:
                    telling.cancel()
                    await asyncio.wait({telling})
                if not telling.cancelled():
                    telling.result()
        except Exception as error:  # whatever it is: what gives up here is never begun again
            if not is_told:
                _LOG.warning("Prefect's events are not heard, looking now and then: %r", error)
            is_told = True
        await asyncio.sleep(_AGAIN_SECONDS)


async def _tell(
    events: AsyncIterable[Event], claimable: Callable[[], None], cancelling: Callable[[UUID], None]
) -> None:
    async for event in events:
        if event.event == _CANCELLING:
            cancelling(UUID(event.resource.id.removeprefix("prefect.flow-run.")))
        else:
            claimable()


async def remind(
    client: PrefectClient, work_pool_name: str, claimable: Callable[[], None]
) -> NoReturn:
    """Tell, for ever, when flow runs become due that were made before: no event says so."""
    loop = asyncio.get_running_loop()
    while True:
        ahead = PREFECT_WORKER_QUERY_SECONDS.value()
        now = datetime.now(UTC)
        wanted = {
            "scheduled_after": now.isoformat(),
            "scheduled_before": (now + timedelta(seconds=1.5 * ahead)).isoformat(),
        }
        try:
            async with asyncio.timeout(PATIENCE):
                found = await ask_scheduled(client, work_pool_name, wanted)
        except Exception as error:
            _LOG.debug("what becomes due is looked for again: %r", error)
            found = []
        for one in found:
            if (due := one.flow_run.next_scheduled_start_time) is not None:
                loop.call_later(due.timestamp() - time.time(), claimable)
        await asyncio.sleep(ahead)


async def ask_scheduled(
    client: PrefectClient, work_pool_name: str, wanted: Mapping[str, object]
) -> list[WorkerFlowRunResponse]:
    """Flow runs of the pool that are scheduled, as ``wanted`` of them, in the words of Prefect's API.

    Prefect's client names no limit: it would be given 200 where there is room for two, after each.
    """
    try:
        answer = await client.request(
            "POST",
            "/work_pools/{name}/get_scheduled_flow_runs",
            path_params={"name": work_pool_name},
            json=dict(wanted),
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code == 404:
            return []  # somebody deleted the pool; made again, it is found by its name
        raise
    return WorkerFlowRunResponse.model_validate_list(answer.json())


async def look(
    client: PrefectClient,
    in_hand: Callable[[], Collection[UUID]],
    cancelling: Callable[[UUID], None],
) -> NoReturn:
    """Tell, for ever, which of the flow runs in hand are to be cancelled."""
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        if not (ids := list(in_hand())):
            continue
        wanted = FlowRunFilter(
            id=FlowRunFilterId(any_=ids),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])),
        )
        try:
            async with asyncio.timeout(PATIENCE):
                found = await client.read_flow_runs(flow_run_filter=wanted)
        except Exception as error:
            _LOG.debug("what is to be cancelled is looked for again: %r", error)
            continue
        for flow_run in found:
            cancelling(flow_run.id)
