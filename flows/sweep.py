"""The scheduled sweep: what killed processes left goes on or ends, and the outbox is drained."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from prefect import flow

from factory_runtime.services.sweep import sweep as sweep_store
from factory_runtime.services.sweep import sweep_prefect
from flows.hooks import drain, learn, shared_runtime
from tasks.threads import in_thread

_TELL_WITHIN = timedelta(seconds=20)


@flow(name="sweep", persist_result=False, log_prints=False)
async def sweep() -> dict[str, int]:
    """Look once over all open runs; how many were repaired, by what was done.

    Those that want a slot after that get it from a dispatcher, or from ``hand-over``.
    """
    runtime = shared_runtime()
    swept = await in_thread(sweep_store, runtime.store, runtime.clock)
    stopped = await in_thread(sweep_prefect, runtime.store, runtime.clock, runtime.launcher)
    await drain()
    await learn()
    await in_thread(runtime.look_for_stuck)
    sealed = await in_thread(runtime.seal_audit)
    bodies = await in_thread(runtime.artifact_sweeper.sweep_if_due)
    await in_thread(runtime.tell, _TELL_WITHIN)
    return {**asdict(swept), "stopped": stopped, "sealed": sealed, "bodies": bodies.deleted}
