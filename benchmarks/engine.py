"""A chain of 100 no-op jobs through the whole engine, beside the same chain in plain Prefect.

Both are async flows whose tasks are called directly, with persisted results; the blocking body runs
on a thread. Ours commits every job's claim and end to SQLite (WAL, synchronous=FULL) besides. The
two are run in turns, in one process against one server, and the ratio is that of the medians.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.in_turns import Times, in_turns, median_ms, ratio_of
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import FileTree, GitHost, JobContext
from factory_runtime.settings import Settings

JOBS = 100
ROUNDS = 15
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

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect
        return None


def main() -> tuple[Ratio, ...]:
    """Print milliseconds per job of both, and their ratio."""
    logging.disable(logging.WARNING)
    with local_server() as settings:
        times = asyncio.run(_measure(settings))
    ratio = Ratio(f"{JOBS} no-op jobs / plain Prefect", ratio_of(times, "ours", "plain"), TARGET)
    print(f"{JOBS}-job no-op chain, {ROUNDS} rounds in turns, median ms per job")
    print(f"  plain Prefect   {median_ms(times['plain']) / JOBS:8.2f}")
    print(f"  factory engine  {median_ms(times['ours']) / JOBS:8.2f}")
    print(ratio)
    return (ratio,)


async def _measure(settings: Settings) -> Times:
    return await in_turns({"ours": _our_chain(settings), "plain": _plain_chain()}, ROUNDS)


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

    steps = [f"job-{position}" for position in range(JOBS)]
    tasks = [no_op.with_options(name=step, task_run_name=step) for step in steps]

    @flow(persist_result=True)
    async def plain_chain(run: str) -> None:
        for step, named in zip(steps, tasks, strict=True):
            await asyncio.create_task(named(step, run))

    async def chain() -> None:
        await plain_chain(str(time.time_ns()))

    return chain


def _our_chain(settings: Settings) -> Callable[[], Awaitable[Any]]:
    from benchmarks.engine_run import EngineInProcess

    _write_template(settings.root / "templates" / "chain")
    settings = settings.model_copy(update={"template_folders": (settings.root / "templates",)})
    engine = EngineInProcess(settings, {"no-op": NoOp()})
    return lambda: engine.run("chain", {}, "local")


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


if __name__ == "__main__":
    main()
