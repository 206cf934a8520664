"""State hooks: what is done after a run, at once. What they miss, the next drain does.

Prefect calls some of these by keyword from another process: the parameters must be named exactly
``flow, flow_run, state``. It swallows their exceptions, so they log their own.
"""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging import get_logger

from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.orchestration.shown import shown_by_prefect
from factory_runtime.telemetry.tracing import start_tracing
from tasks.threads import in_thread

_runtime: Runtime | None = None


def shared_runtime() -> Runtime:
    """One runtime for every flow run of this process."""
    if _runtime is None:
        share_runtime(runtime := open_runtime())
        return runtime
    return _runtime


def share_runtime(runtime: Runtime) -> None:
    """Use this runtime from now on: the process has opened one already."""
    global _runtime
    _runtime = runtime
    start_tracing()  # before Prefect begins the span of a flow run


async def after_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Drain the outbox: index into memory, publish Prefect artifacts."""
    del flow, flow_run, state
    if not shared_runtime().settings.hooks:
        return
    try:
        await drain()
    except Exception:
        get_logger("factory.hooks").exception("the outbox could not be drained; the next run will")


async def drain() -> None:
    """Do what commits left to be done."""
    runtime = shared_runtime()
    await in_thread(runtime.drain, shown_by_prefect(runtime.store, runtime.clock))
