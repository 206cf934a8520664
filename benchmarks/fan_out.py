"""A fan-out of 1,000 no-op jobs through the whole engine, beside the same in plain Prefect.

One job, a thousand that need it, and one that needs them all. Both are async flows whose tasks are
called directly, each in an asyncio task of its own, with persisted results; the blocking body runs
on a thread. Ours commits every job's claim and end besides. The two run in turns, in one process
against one server. What other durable tools make of the same graph: ``make bench-peers``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.engine import NoOp
from benchmarks.in_turns import Times, in_turns, median_ms, ratio_of
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from factory_runtime.settings import Settings

WIDTH = 1000
ROUNDS = 3
TARGET = 1.5


def main() -> tuple[Ratio, ...]:
    """Print jobs per second of both, and their ratio."""
    logging.disable(logging.WARNING)
    with local_server() as settings:
        times = asyncio.run(_measure(settings))
    ratio = Ratio(f"{WIDTH}-job fan-out / plain Prefect", ratio_of(times, "ours", "plain"), TARGET)
    print(f"{WIDTH}-job fan-out, {ROUNDS} rounds in turns, median jobs per second")
    for name, way in (("plain Prefect", "plain"), ("factory engine", "ours")):
        print(f"  {name:14} {(WIDTH + 2) * 1000 / median_ms(times[way]):8.1f}")
    print(ratio)
    return (ratio,)


async def _measure(settings: Settings) -> Times:
    return await in_turns({"ours": our_fan(settings), "plain": _plain_fan()}, ROUNDS)


def _plain_fan() -> Callable[[], Awaitable[Any]]:
    from prefect import flow, task
    from prefect.cache_policies import INPUTS

    from tasks.threads import in_thread

    def body(name: str) -> dict[str, str]:
        return {"step": name}

    @task(persist_result=True, cache_policy=INPUTS, retries=4, task_run_name="{name}")
    async def no_op(name: str, run: str) -> dict[str, str]:
        del run
        return await in_thread(body, name)

    @flow(persist_result=True)
    async def plain_fan(run: str) -> None:
        await asyncio.create_task(no_op("first", run))
        names = [f"work-{number}" for number in range(WIDTH)]
        await asyncio.gather(*(asyncio.create_task(no_op(name, run)) for name in names))
        await asyncio.create_task(no_op("last", run))

    async def fan() -> None:
        await plain_fan(str(time.time_ns()))

    return fan


def our_fan(settings: Settings) -> Callable[[], Awaitable[Any]]:
    """What executes our fan-out once, on a home; import under ``local_server`` only."""
    from benchmarks.engine_run import EngineInProcess

    _write_template(settings.root / "templates" / "fan")
    settings = settings.model_copy(update={"template_folders": (settings.root / "templates",)})
    engine = EngineInProcess(settings, {"no-op": NoOp()})
    items = [f"w{number}" for number in range(WIDTH)]
    return lambda: engine.run("fan", {"items": items}, "local")


def _write_template(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text(
        """\
id: fan
version: 1.0.0
title: Fan
description: Nothing, a thousand times.
inputs:
  type: object
  properties: {items: {type: array, items: {type: string}}}
steps:
  - {name: first, type: no-op}
  - {name: work, type: no-op, needs: [first], each: "${{ inputs.items }}"}
  - {name: last, type: no-op, needs: [work]}
"""
    )


if __name__ == "__main__":
    main()
