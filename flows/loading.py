"""Which flow run a flow is loaded for, and which run it is executed for.

Prefect's engine looks at a flow's signature before it begins. So where a flow is loaded to execute a
flow run, it has to know already what that one was given.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.runtime import flow_run as executed

from factory_runtime.domain.run import Run
from factory_runtime.orchestration.prefect_api import ask
from factory_runtime.ports import RunKey


@dataclass(frozen=True, slots=True)
class LoadedFor:
    """What is known of the flow run.

    Attributes:
        parameters: as they were given, by whomever; nobody has checked them.
        deployment_id: Prefect's; None where it is of none.
    """

    parameters: Mapping[str, Any]
    deployment_id: str | None


_dispatched: ContextVar[RunKey | None] = ContextVar("dispatched", default=None)
_loaded_for: ContextVar[LoadedFor | None] = ContextVar("loaded_for", default=None)


@contextmanager
def loading_for(flow_run: FlowRun) -> Generator[None]:
    """Flows that are loaded within are for this flow run.

    For who executes several in one process; else the process is for the one that Prefect's engine
    was started with.
    """
    deployment_id = None if flow_run.deployment_id is None else str(flow_run.deployment_id)
    token = _loaded_for.set(LoadedFor(flow_run.parameters, deployment_id))
    try:
        yield
    finally:
        _loaded_for.reset(token)


def loaded_for() -> LoadedFor | None:
    """The flow run that is to be executed; None where a flow is loaded to be looked at, or called.

    Raises:
        PrefectUnavailableError: the process is for one, and no server tells of it.
    """
    if (known := _loaded_for.get()) is not None:
        return known
    if executed.id is None or FlowRunContext.get() is not None:
        return None  # within a flow run, it is loaded by that one's own code
    answer = ask("GET", "/flow_runs/{id}", id=executed.id)
    return LoadedFor(answer["parameters"], answer["deployment_id"])


@contextmanager
def dispatching(run: Run) -> Generator[None]:
    """The flow run that is executed within is this run's, as our own record says."""
    token = _dispatched.set(RunKey(run.tenant_id, run.id))
    try:
        yield
    finally:
        _dispatched.reset(token)


def dispatched() -> RunKey | None:
    """The run that the dispatcher executes here; None elsewhere."""
    return _dispatched.get()
