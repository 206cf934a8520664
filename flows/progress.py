"""The progress artifact of a flow run: kept up to date beside the jobs, never in their way.

The last word is the outbox's, after the run (``orchestration.show_run``).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from factory_runtime.orchestration.show_run import PROGRESS, plain_text
from tasks.execution import Execution

_PAUSE = 1.0
"""Seconds between two updates: the server on SQLite is slow under many writes."""


class Progress:
    """Shows in Prefect's UI what share of the jobs has ended. Best effort: our store knows it."""

    def __init__(self, flow_run_id: str, execution: Execution) -> None:
        self._flow_run_id = UUID(flow_run_id)
        self._execution = execution
        self._walk = execution.walk
        self._task: asyncio.Task[None] | None = None
        self._made: UUID | None = None

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
        shown: tuple[float, str] | None = None
        async with get_client() as client:
            while True:
                await asyncio.sleep(_PAUSE)
                if (now := (self._share(), self._phrase())) != shown:
                    await self._show(client, *now)
                    shown = now

    async def _show(self, client: PrefectClient, share: float, phrase: str) -> None:
        if self._made is not None:
            await client.update_artifact(self._made, ArtifactUpdate(data=share, description=phrase))
            return
        made = await client.create_artifact(
            ArtifactCreate(
                key=PROGRESS,
                type="progress",
                description=phrase,
                data=share,
                flow_run_id=self._flow_run_id,
            )
        )
        self._made = made.id

    def _share(self) -> float:
        """Percent: jobs that have ended, and parts of those that say how far they are."""
        total = len(self._walk.plan.jobs) or 1
        parts = sum(share for _, share, _ in self._told())
        return round(100 * (len(self._walk.endings) + parts) / total, 1)

    def _phrase(self) -> str:
        """What the jobs under way say, harmless in Markdown."""
        told = "; ".join(f"{step}: {phrase}" for step, _, phrase in self._told())
        return plain_text(told) or f"Jobs of {self._walk.run.id} that have ended"

    def _told(self) -> list[tuple[str, float, str]]:
        attempts = list(self._execution.attempts.values())
        return [(begun.job.step, *begun.progress) for begun in attempts if begun.progress]
