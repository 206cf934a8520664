"""A chain of 100 no-op jobs through the whole engine, beside the same chain in plain Prefect.

Both are async flows whose tasks are called directly, with persisted results; the blocking body runs
on a thread. Ours commits every job's claim and end to SQLite (WAL, synchronous=FULL) besides. The
two are run in turns, in one process against one server, and the ratio is that of the medians.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.local_server import local_server
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import FileTree, JobContext
from factory_runtime.settings import Settings

JOBS = 100
ROUNDS = 7
TARGET = 1.5


class NoOp:
    """A job type that does nothing, durably."""

    facts = JobTypeFacts(name="no-op", version="1", with_schema={"type": "object"}, source_keys=())

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del with_, tree
        return JobResult(outputs={"step": context.facts.step})


def main() -> None:
    """Print milliseconds per job of both, and their ratio."""
    logging.disable(logging.WARNING)
    with local_server() as settings:
        ours, plain = asyncio.run(_measure(settings))
    ratio = statistics.median(ours) / statistics.median(plain)
    print(f"{JOBS}-job no-op chain, {ROUNDS} rounds in turns, median ms per job")
    print(f"  plain Prefect   {_ms(plain):8.2f}")
    print(f"  factory engine  {_ms(ours):8.2f}")
    print(f"  ratio           {ratio:8.2f}   (target: at most {TARGET})")


async def _measure(settings: Settings) -> tuple[list[float], list[float]]:
    ours, plain = _our_chain(settings), _plain_chain()
    for warm_up in (ours, plain):
        await warm_up()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for chain, kept in zip((ours, plain), times, strict=True):
            started = time.perf_counter()
            await chain()
            kept.append(time.perf_counter() - started)
    return times


def _plain_chain() -> Callable[[], Awaitable[Any]]:
    from prefect import flow, task
    from prefect.cache_policies import INPUTS

    from tasks.threads import in_thread

    def body(name: str) -> dict[str, str]:
        return {"step": name}

    @task(persist_result=True, cache_policy=INPUTS, retries=4)
    async def no_op(name: str, run: str) -> dict[str, str]:
        del run
        return await in_thread(body, name)

    @flow(persist_result=True)
    async def plain_chain(run: str) -> None:
        for position in range(JOBS):
            step = f"job-{position}"
            await asyncio.create_task(no_op.with_options(name=step, task_run_name=step)(step, run))

    async def chain() -> None:
        await plain_chain(str(time.time_ns()))

    return chain


def _our_chain(settings: Settings) -> Callable[[], Awaitable[Any]]:
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow_async

    from factory_runtime.bootstrap import Runtime, SystemClock
    from factory_runtime.domain.run import RunRequest
    from factory_runtime.orchestration.launch import PrefectLauncher
    from factory_runtime.services.dispatch import dispatch_next
    from factory_runtime.services.request_run import request_run
    from flows.hooks import share_runtime
    from flows.templates import flow_of_run

    _write_template(settings.root / "templates" / "chain")
    settings = settings.model_copy(update={"template_folders": (settings.root / "templates",)})
    runtime = Runtime(settings, SystemClock(), {"no-op": NoOp()})
    share_runtime(runtime)
    launcher = PrefectLauncher(runtime.inputs_of)

    async def chain() -> None:
        request = RunRequest("local", "bench", "chain", {}, "bench")
        request_run(runtime.desk, request)
        run = dispatch_next(runtime.store, launcher, runtime.clock)
        if run is None or run.flow_run_id is None:
            sys.exit("no run was admitted")
        async with get_client() as client:
            from uuid import UUID

            flow_run = await client.read_flow_run(UUID(run.flow_run_id))
        # Without the hooks: plain Prefect has none either, and they come after the run.
        flow = flow_of_run(runtime, run).with_options(on_completion=[])
        await run_flow_async(flow, flow_run=flow_run, parameters={}, return_type="state")
        with runtime.store.begin("local", read_only=True) as tx:
            status = tx.get_run(run.id).status
        if status != "Succeeded":
            sys.exit(f"the chain is {status}")

    return chain


def _write_template(folder: Path) -> None:
    folder.mkdir(parents=True)
    lines = [
        "id: chain",
        "version: 1.0.0",
        "title: Chain",
        "description: Nothing, often.",
        "steps:",
    ]
    for position in range(JOBS):
        needs = f", needs: [job-{position - 1}]" if position else ""
        lines.append(f"  - {{name: job-{position}, type: no-op{needs}}}")
    (folder / "template.yaml").write_text("\n".join(lines) + "\n")


def _ms(times: list[float]) -> float:
    return statistics.median(times) / JOBS * 1000


if __name__ == "__main__":
    main()
