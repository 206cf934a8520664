"""How a warm worker makes a flow run its own, whatever becomes of the server or of other workers.

A claim is a state Pending with an id of ours: sent again after an answer that was lost, it is the
same claim. It names its worker, so that others give back what a worker that is gone had claimed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar
from uuid import UUID, uuid4

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateDetails, StateType, WorkerStatus
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Pending, Scheduled, to_state_create

from deployments.pool_events import PATIENCE, Tries
from factory_runtime.orchestration.states import is_begun_in_prefect

_LOG = logging.getLogger("factory.worker")

_CLAIMED = "claimed by "
_AGAIN_SECONDS = 1.0

_LOOK_EVERY = 20.0
"""Seconds between two looks for what workers that are gone had claimed."""

_BEGIN_WITHIN = timedelta(seconds=60)
"""What was claimed has begun by then, or its worker waits for a process or for the server."""

T = TypeVar("T")


class Patient:
    """Asks the server for as long as it takes; ``away`` is told each time it does not answer."""

    def __init__(self, client: PrefectClient, away: Callable[[Exception], None]) -> None:
        self._client = client
        self._away = away

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The server's answer.

        Raises:
            Exception: what says anything else than that the server is away; that it has failed at
                this one question, after some tries.
        """
        tries = Tries()
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    return await question()
            except Exception as error:
                if not tries.another(error):
                    raise
                self._away(error)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def read_state(self, flow_run_id: UUID) -> State[Any] | None:
        """A flow run's state; None where somebody deleted it."""

        async def read() -> State[Any] | None:
            with suppress(ObjectNotFound):
                return (await self._client.read_flow_run(flow_run_id)).state
            return None

        return await self.ask(read)

    async def set_state(self, flow_run_id: UUID, state: State[Any], *, force: bool = False) -> None:
        """Have a flow run set so, unless somebody deleted it."""

        async def set_it() -> None:
            with suppress(ObjectNotFound):
                await self._client.set_flow_run_state(flow_run_id, state, force=force)

        await self.ask(set_it)

    async def claim(self, flow_run: FlowRun, worker: str) -> FlowRun | None:
        """The flow run, claimed for this worker; None where it is not to be had now."""
        wanted = Pending(message=f"{_CLAIMED}{worker}")
        wanted.state_details = StateDetails(flow_run_id=flow_run.id, transition_id=uuid4())
        body = {"state": to_state_create(wanted).model_dump(mode="json", serialize_as_any=True)}

        async def propose() -> OrchestrationResult[Any]:
            path, names = "/flow_runs/{id}/set_state", {"id": flow_run.id}
            answer = await self._client.request("POST", path, path_params=names, json=body)
            return OrchestrationResult[Any].model_validate(answer.json())

        answer = await self.ask(propose)
        # It is refused, too, where an earlier answer was lost: then the state there is this one.
        is_ours = answer.status is SetStateStatus.ACCEPT or claim_of(answer.state) == claim_of(
            wanted
        )
        return flow_run.model_copy(update={"state": wanted}) if is_ours else None


def claim_of(state: State[Any] | None) -> UUID | None:
    """The id of the claim that a flow run's state is; None where it is none."""
    if state is None or not state.is_pending() or not (state.message or "").startswith(_CLAIMED):
        return None
    return state.state_details.transition_id


def is_lost(state: State[Any] | None, claim_id: UUID) -> bool:
    """Whether a flow run that was claimed so has been given to somebody else since.

    One that runs was begun by whoever claimed it since. What our own record shows of its run takes
    no claim.
    """
    if state is None:
        return False
    if state.is_scheduled() or is_begun_in_prefect(state):
        return True
    return claim_of(state) not in (None, claim_id)


async def give_back_what_is_left(
    client: PrefectClient,
    work_pool_name: str,
    worker: str,
    in_hand: Callable[[], Collection[UUID]],
) -> NoReturn:
    """Have flow runs claimed again, for ever, whose worker is gone between claim and beginning."""
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        try:
            async with asyncio.timeout(PATIENCE):
                await _give_back(client, work_pool_name, worker, in_hand())
        except Exception as error:
            _LOG.debug("what workers have left is looked for again: %r", error)


async def _give_back(
    client: PrefectClient, work_pool_name: str, worker: str, in_hand: Collection[UUID]
) -> None:
    old = datetime.now(UTC) - _BEGIN_WITHIN
    pending = FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType.PENDING]),
        name=FlowRunFilterStateName(any_=["Pending"]),
    )
    found = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=pending),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[work_pool_name])),
    )
    left = [
        one
        for one in found
        if one.id not in in_hand
        and one.state is not None
        and claim_of(one.state) is not None
        and one.state.timestamp < old
    ]
    if not left:
        return
    workers = await client.read_workers_for_work_pool(work_pool_name)
    living = {one.name for one in workers if one.status is WorkerStatus.ONLINE} - {worker}
    for one in left:
        name = str(one.state.message).removeprefix(_CLAIMED) if one.state else ""
        if name not in living:
            _LOG.warning("flow run %s was left by %s, and is scheduled again", one.id, name)
            try:
                await client.set_flow_run_state(one.id, Scheduled())
            except ObjectNotFound:
                continue
