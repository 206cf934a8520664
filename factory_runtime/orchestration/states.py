"""Our status in Prefect's words."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from factory_runtime.domain.run import Run, RunStatus


def state_of(run: Run) -> State[Any]:
    """Prefect's state for an ended run. Its message holds ids of ours alone."""
    if run.status is RunStatus.SUCCEEDED:
        return Completed(message=f"{run.id} succeeded")
    if run.status is RunStatus.CANCELLED:
        return Cancelled(message=f"{run.id} was cancelled")
    return Failed(message=f"{run.id} is {run.status}: see `factory runs show {run.id}`")
