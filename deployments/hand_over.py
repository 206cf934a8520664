"""A dispatcher for those who have none up: a scheduled flow that hands what waits over to workers."""

from __future__ import annotations

from prefect import flow

from deployments.launching import pool_launcher
from factory_runtime.services.dispatch import dispatch_next
from factory_runtime.services.sweep import sweep_pool
from flows.hooks import shared_runtime
from tasks.threads import in_thread


@flow(name="hand-over", persist_result=False, log_prints=False)
async def hand_over() -> int:
    """Hand over to the workers of the pool every run whose turn has come; how many.

    Those are new ones that were not begun in Prefect, and those that waited: for a slot, for people,
    for a time, for another worker. What no worker will begin gives its slot back before.

    Raises:
        PrefectUnavailableError: no server answers; the next one goes on.
    """
    runtime = shared_runtime()
    launcher = pool_launcher(runtime)
    await in_thread(sweep_pool, runtime.store, runtime.clock, launcher)
    handed_over = 0
    while (
        await in_thread(
            dispatch_next,
            runtime.store,
            launcher,
            runtime.clock,
            runtime.settings.max_running_runs,
            runtime.engine.worker,
            runtime.policies.limits_of,
        )
        is not None
    ):
        handed_over += 1
    return handed_over
