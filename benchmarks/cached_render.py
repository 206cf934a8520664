"""A first render beside a cached one, each as a job pays for it: through the render task.

The job is the first of ``microservice``. Every round is a run of a tenant of its own, so that its
first render is really made; the second asks for the same tree. What a cached one costs is
Prefect's task, the lock on its key, and a look whether the tree is still there.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from typing import Any

from benchmarks.in_turns import median_ms
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.run import RunRequest
from factory_runtime.services.attempt import Begun
from factory_runtime.services.engine import Walk
from factory_runtime.settings import Settings

ROUNDS = 9
TARGET = 10.0
JOB = "generate-repo"


def main() -> tuple[Ratio, ...]:
    """Print milliseconds of both, and how often the one goes into the other."""
    logging.disable(logging.WARNING)
    with local_server() as settings:
        first, cached = asyncio.run(_measure(settings))
    ratio = Ratio(
        "first render / cached render",
        statistics.median(first) / statistics.median(cached),
        TARGET,
        at_least=True,
    )
    print(f"the render of {JOB}, {ROUNDS} rounds, median ms")
    print(f"  first   {median_ms(first):8.1f}")
    print(f"  cached  {median_ms(cached):8.1f}")
    print(ratio)
    return (ratio,)


async def _measure(settings: Settings) -> tuple[list[float], list[float]]:
    from prefect import flow

    from tasks.execution import Execution, JobCall
    from tasks.gate import Gate
    from tasks.render_tree import tree_of

    runtime = Runtime(settings, SystemClock())
    first: list[float] = []
    cached: list[float] = []

    async def timed(call: JobCall, begun: Begun, times: list[float]) -> None:
        started = time.perf_counter()
        await tree_of(call)
        times.append(time.perf_counter() - started)
        assert begun.cached is (times is cached), "a render came from the wrong place"

    @flow(persist_result=False)
    async def render_twice(number: int) -> None:
        walk, begun = _begin(runtime, f"bench-{number}")
        execution = Execution(runtime, walk, Gate(1), asyncio.Semaphore(1))
        execution.attempts[JOB] = begun
        for times in (first, cached):
            await timed(JobCall(execution, JOB), begun, times)

    for number in range(ROUNDS + 1):
        await render_twice(number)
    return first[1:], cached[1:]  # the very first one warms up


def _begin(runtime: Runtime, tenant_id: str) -> tuple[Walk, Begun]:
    """A run of this tenant whose first job was claimed just now."""
    from factory_runtime.services.claim_job import begin_attempt
    from factory_runtime.services.dispatch import admit
    from factory_runtime.services.engine import begin_walk
    from factory_runtime.services.request_run import request_run

    inputs: dict[str, Any] = {"service_name": "orders", "entities": ["order"]}
    request = RunRequest(tenant_id, "bench", "microservice", inputs, "bench")
    run = request_run(runtime.desk, request)
    admit(runtime.store, runtime.clock, run, 10_000, runtime.engine.worker)
    walk = begin_walk(runtime.engine, tenant_id, run.id, f"flow-run-of-{run.id}")
    assert isinstance(walk, Walk)
    begun = begin_attempt(runtime.engine, walk, JOB)
    assert isinstance(begun, Begun)
    return walk, begun


if __name__ == "__main__":
    main()
