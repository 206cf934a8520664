"""The scheduled indexing: what ended runs and published templates taught goes into the memory."""

from __future__ import annotations

from dataclasses import asdict

from prefect import flow

from factory_runtime.services.drain_outbox import drain_outbox
from factory_runtime.telemetry import worker_name
from flows.hooks import shared_runtime
from tasks.threads import in_thread


@flow(name="index-memory", persist_result=False, log_prints=False)
async def index_memory() -> dict[str, int]:
    """Drain the memory's part of the outbox; how many messages were done, and how many failed."""
    runtime = shared_runtime()
    handlers = runtime.librarian.handlers
    drained = await in_thread(drain_outbox, runtime.store, runtime.clock, handlers, worker_name())
    return asdict(drained)
