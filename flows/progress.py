"""The progress artifact of a flow run: kept up to date beside the jobs, never in their way.

The last word is the outbox's, after the run (``orchestration.show_run``).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from factory_runtime.orchestration.show_run import PROGRESS
from factory_runtime.services.engine import Walk

_PAUSE = 1.0
"""Seconds between two updates: the server on SQLite is slow under many writes."""


class Progress:
    """Shows in Prefect's UI what share of the jobs has ended. Best effort: our store knows it."""

    def __init__(self, flow_run_id: str, walk: Walk) -> None:
        self._flow_run_id = UUID(flow_run_id)
        self._walk = walk
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._made: UUID | None = None

    def changed(self) -> None:
        self._dirty.set()

    async def __aenter__(self) -> Progress:
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        async with get_client() as client:
            while True:
                await asyncio.sleep(_PAUSE)
                await self._dirty.wait()
                self._dirty.clear()
                await self._show(client)

    async def _show(self, client: PrefectClient) -> None:
        if self._made is not None:
            await client.update_artifact(self._made, ArtifactUpdate(data=self._share()))
            return
        made = await client.create_artifact(
            ArtifactCreate(
                key=PROGRESS,
                type="progress",
                description=f"Jobs of {self._walk.run.id} that have ended",
                data=self._share(),
                flow_run_id=self._flow_run_id,
            )
        )
        self._made = made.id

    def _share(self) -> float:
        total = len(self._walk.plan.jobs) or 1
        return round(100 * len(self._walk.endings) / total, 1)
