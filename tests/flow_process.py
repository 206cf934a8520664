"""Executes flow runs in a process of its own: ``python -m tests.flow_process HOME API_URL``.

Reads their ids, one a line, and answers each with a line of JSON. What their flow does is said by
its one input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from deployments.executor import set_prefect
from factory_runtime.settings import Settings

set_prefect(Settings(home=Path(sys.argv[1])), sys.argv[2])

from prefect import Flow, flow, task  # noqa: E402 - it reads its settings when it is imported
from prefect.client.orchestration import get_client  # noqa: E402
from prefect.client.schemas.objects import FlowRun, State  # noqa: E402
from prefect.context import FlowRunContext  # noqa: E402
from prefect.events.worker import EventsWorker  # noqa: E402
from prefect.exceptions import Abort  # noqa: E402
from prefect.flow_engine import run_flow_async  # noqa: E402

from factory_runtime.domain.run import Run, RunStatus  # noqa: E402
from factory_runtime.orchestration.flow_runs import force_flow_run  # noqa: E402
from factory_runtime.orchestration.states import state_of, waiting_state  # noqa: E402
from tests.builders import NOON, a_run  # noqa: E402

_hooks: list[str] = []
_told: list[str] = []


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def hook(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    del flow, flow_run
    _hooks.append(state.name or "")


@task(persist_result=False)
async def base() -> str:
    return "job-base"


@task(persist_result=False)
async def waiting() -> Any:
    return waiting_state("job-waiting")


@task(persist_result=False)
async def hanging() -> None:
    tell(begun=True)
    await asyncio.sleep(600)


@flow(
    name="microservice",
    persist_result=False,
    on_completion=[hook],
    on_failure=[hook],
    on_crashed=[hook],
    on_cancellation=[hook],
)
async def microservice(service_name: str) -> Any:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    run = a_run(id=context.flow_run.name, admitted_at=NOON, flow_run_id=str(context.flow_run.id))
    await base()
    if service_name == "leaves":
        force_flow_run(str(context.flow_run.id), _as(run, RunStatus.WAITING))
        raise Abort("the run waits")
    if service_name == "waits":
        state: State[Any] = await cast("Any", waiting(return_state=True))
        _told.append(f"{state.type.value} {state.name}")
        await base()
    if service_name == "hangs" and context.flow_run.run_count == 1:
        await hanging()
    return _as(run, RunStatus.SUCCEEDED)


def _as(run: Run, status: RunStatus) -> State[Any]:
    return state_of(replace(run, status=status))


async def execute(flow_run_id: str) -> str:
    async with get_client() as client:
        flow_run = await client.read_flow_run(UUID(flow_run_id))
    try:
        state = await run_flow_async(
            microservice, flow_run=flow_run, parameters=flow_run.parameters, return_type="state"
        )
    except Abort as left:
        return f"Abort: {left}"
    return cast("State[Any]", state).name or ""


def main() -> None:
    for line in sys.stdin:
        ended = asyncio.run(execute(line.strip()))
        tell(ended=ended, hooks=list(_hooks), told=list(_told))
        _hooks.clear()
        _told.clear()
    EventsWorker.drain_all(timeout=5)
    os._exit(0)  # Prefect's threads would wait for a server that goes before them


if __name__ == "__main__":
    main()
