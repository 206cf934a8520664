"""What a work pool of the type ``factory``, and a deployment in it, can say of warm processes."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorkerResult
from pydantic import Field


class FactoryVariables(BaseVariables):
    """What a work pool of this type can be told."""

    max_runs: int = Field(
        default=100, ge=1, description="After so many flow runs, a process is replaced."
    )
    memory_limit_mib: int = Field(
        default=1024, ge=1, description="A process that holds more after a flow run is replaced."
    )
    drain_seconds: float = Field(
        default=20,
        ge=0,
        description="How long flow runs may go on after SIGTERM, before they are put down.",
    )
    cancel_seconds: float = Field(
        default=30,
        ge=0,
        description="A process whose cancelled flow run is still there by then is killed.",
    )


class FactoryConfiguration(BaseJobConfiguration):
    """The same, for one flow run."""

    max_runs: int = Field(default=100)
    memory_limit_mib: int = Field(default=1024)
    drain_seconds: float = Field(default=20)
    cancel_seconds: float = Field(default=30)

    def prepare_for_flow_run(self, flow_run: FlowRun, *args: Any, **kwargs: Any) -> None:
        """Refuse what a process that is there already cannot be given.

        Raises:
            ValueError: an environment or a command is asked for.
        """
        if self.env or self.command:
            raise ValueError("a warm process takes no `env` and no `command`: use a process pool")
        super().prepare_for_flow_run(flow_run, *args, **kwargs)


class FactoryResult(BaseWorkerResult):
    """What became of the process; 0 where it is well."""
