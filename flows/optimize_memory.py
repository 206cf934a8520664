"""The scheduled upkeep of the memory index."""

from __future__ import annotations

from dataclasses import asdict

from prefect import flow

from factory_runtime.services.optimize_memory import optimize_memory as optimize_index
from factory_runtime.telemetry import worker_name
from flows.hooks import shared_runtime
from tasks.threads import in_thread


@flow(name="optimize-memory", persist_result=False, log_prints=False)
async def optimize_memory() -> dict[str, int]:
    """Compact the index of every tenant; how many were done, are at work elsewhere, or failed."""
    runtime = shared_runtime()
    optimized = await in_thread(
        optimize_index, runtime.store, runtime.clock, runtime.memory, worker_name()
    )
    return asdict(optimized)
