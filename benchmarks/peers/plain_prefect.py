"""The fan-out in Prefect alone: an async flow whose tasks are called directly, results persisted.

As in ``benchmarks.fan_out``: what it costs, and what a person has to know, to have Prefect skip the
tasks that had ended. A cache policy is part of it: without one, all of them run again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.peers.fan_out import LAST, ROOT, FanOut, Tool

PACKAGE = "prefect"

_RESULTS = Path("prefect", "results")
_NAME = re.compile(rf"{ROOT}|{LAST}|job_\d+")


def recorded_jobs(folder: Path) -> frozenset[str]:
    """The jobs whose results Prefect holds for those who come later."""
    found: set[str] = set()
    for place in (folder / _RESULTS).glob("*"):
        if name := _NAME.search(str(_result_in(place))):
            found.add(name[0])
    return frozenset(found)


def _result_in(place: Path) -> Any:
    try:
        return json.loads(place.read_text())["result"]
    except (ValueError, KeyError):  # it was killed in the middle of writing this one
        return None


class _Prefect:
    """Its flow runs are named after the folder, so that the next process finds them."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self._name = folder.name
        self._runner = runner
        self._numbers = count()
        self._flow = _the_flow()

    def run(self) -> int:
        return self._runner.run(self._begin(f"{self._name}-{next(self._numbers)}"))

    def recover(self) -> int:
        return self._runner.run(self._resume(f"{self._name}-0"))

    async def _begin(self, name: str) -> int:
        from prefect.client.orchestration import get_client

        async with get_client() as client:
            flow_run = await client.create_flow_run(self._flow, name=name, parameters={"run": name})
        return await self._execute(flow_run)

    async def _resume(self, name: str) -> int:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
        from prefect.client.schemas.sorting import FlowRunSort
        from prefect.states import AwaitingRetry

        async with get_client() as client:
            wanted = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
            (killed,) = await client.read_flow_runs(
                flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=2
            )
            await client.set_flow_run_state(killed.id, AwaitingRetry(), force=True)
            flow_run = await client.read_flow_run(killed.id)
        return await self._execute(flow_run)

    async def _execute(self, flow_run: Any) -> int:
        from prefect.flow_engine import run_flow_async

        ended: Any = await run_flow_async(
            self._flow, flow_run=flow_run, parameters=flow_run.parameters, return_type="result"
        )
        return ended


def _the_flow() -> Any:
    from prefect import flow, task
    from prefect.cache_policies import INPUTS

    from tasks.threads import in_thread

    fan_out = FanOut.from_environment()

    @task(
        persist_result=True,
        result_serializer="json",
        cache_policy=INPUTS,
        retries=4,
        task_run_name="{name}",
    )
    async def job(name: str, run: str) -> str:
        del run
        return await in_thread(fan_out.run_job, name)

    @flow(name="fan-out", persist_result=False)
    async def fan(run: str) -> int:
        await asyncio.create_task(job(ROOT, run))
        middle = [asyncio.create_task(job(name, run)) for name in fan_out.middle]
        done = await asyncio.gather(*middle)
        await asyncio.create_task(job(LAST, run))
        return len(done)

    return fan


@contextmanager
def opened(folder: Path, url: str | None) -> Generator[Tool]:
    """Prefect with its results below the folder, and its records with the server at ``url``."""
    from deployments.executor import set_prefect
    from factory_runtime.settings import Settings

    assert url is not None
    logging.disable(logging.WARNING)
    set_prefect(Settings(home=folder), url)
    with asyncio.Runner() as runner:
        yield _Prefect(folder, runner)
