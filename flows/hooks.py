"""State hooks: what is done after a run, at once or as soon as it disturbs no other.

What they miss, the next drain does.

Prefect calls some of these by keyword from another process: the parameters must be named exactly
``flow, flow_run, state``. It swallows their exceptions, so they log their own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging import get_logger

from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.orchestration.shown import shown_by_prefect
from factory_runtime.services.index_memory import A_WHILE
from factory_runtime.telemetry.tracing import start_tracing
from tasks.threads import in_thread

_runtime: Runtime | None = None
_ask_for_drain: Callable[[], None] | None = None


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


@contextmanager
def drained_by(ask: Callable[[], None]) -> Generator[None]:
    """Within the block, hooks ask for a drain, and somebody of this process does it when it suits."""
    global _ask_for_drain
    _ask_for_drain = ask
    try:
        yield
    finally:
        _ask_for_drain = None


async def after_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Have what the run has left done: publish Prefect artifacts, learn, index into memory."""
    del flow, flow_run, state
    if not shared_runtime().settings.hooks:
        return
    if _ask_for_drain is not None:
        _ask_for_drain()
        return
    try:
        await drain()
        await learn()
    except Exception:
        get_logger("factory.hooks").exception("the outbox could not be drained; the next run will")


async def drain() -> None:
    """Do what commits left to be done, but for learning."""
    runtime = shared_runtime()
    await in_thread(runtime.drain, shown_by_prefect(runtime.store, runtime.clock))


async def learn() -> None:
    """Learn what runs have taught, and index it: for a while, since others may be waiting."""
    await in_thread(shared_runtime().learn, A_WHILE)
