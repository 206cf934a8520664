"""The five real jobs of ``microservice``, nothing cached, beside the same five in plain Prefect.

Both render in the same box and publish to the same local git host, so that the ratio is what the
engine costs and nothing else (``benchmarks.render`` sets the box against Copier alone). The plain
flow is what somebody would write by hand: one async task per step, called directly with
``asyncio.create_task`` as soon as its needs are done, blocking work on a thread, results persisted.
It keeps no records. Ours is timed from the request to the closed run. Every round has a tenant of
its own, whose sources are in storage before the clock runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from benchmarks.in_turns import Times, in_turns, median_ms, ratio_of
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.domain.tree import read_tree
from factory_runtime.jobs.render.box import render
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.ports import CommitOrder
from factory_runtime.settings import Settings

ROUNDS = 9
TARGET = 1.2
INPUTS: Mapping[str, Any] = {"service_name": "orders", "entities": ["order"], "deliver": False}

_ABOUT = {
    "service_name": "orders",
    "description": "A service from the golden path.",
    "owner": "platform",
}
_SHAPE = {"database": "postgres", "port": 8000}


@dataclass(frozen=True, slots=True)
class Step:
    """One step as somebody would write it down by hand."""

    name: str
    layers: tuple[Layer, ...]
    needs: tuple[str, ...] = ()


STEPS = (
    Step("generate-repo", (Layer("files/base", {**_ABOUT, **_SHAPE}),)),
    Step(
        "apply-domain",
        (Layer("files/domain", {"entity": "order", "database": "postgres"}),),
        ("generate-repo",),
    ),
    Step("apply-infrastructure", (Layer("files/infrastructure", _SHAPE),), ("generate-repo",)),
    Step(
        "generate-pipelines",
        tuple(
            Layer(f"pipeline-generation:{flavour}", {"database": "postgres"})
            for flavour in ("azure-pipelines", "github-actions")
        ),
        ("generate-repo", "apply-domain", "apply-infrastructure"),
    ),
    Step(
        "create-docs",
        (Layer("files/docs", {**_ABOUT, **_SHAPE, "entities": ["order"]}),),
        ("generate-repo", "apply-domain"),
    ),
)


def main() -> tuple[Ratio, ...]:
    """Print milliseconds per run of both, and their ratio."""
    logging.disable(logging.WARNING)
    with local_server() as settings:
        times = asyncio.run(_measure(settings))
    measured = ratio_of(times, "ours", "plain")
    ratio = Ratio("five real jobs, uncached / plain Prefect", measured, TARGET)
    print(f"the five jobs of microservice, {ROUNDS} rounds in turns, median ms per run")
    print(f"  plain Prefect   {median_ms(times['plain']):8.0f}")
    print(f"  factory engine  {median_ms(times['ours']):8.0f}")
    print(ratio)
    return (ratio,)


async def _measure(settings: Settings) -> Times:
    from benchmarks.engine_run import EngineInProcess

    engine = EngineInProcess(settings)
    tenants = Tenants(engine.runtime)
    plain = _plain_flow(engine.runtime)
    return await in_turns(
        {
            "ours": lambda: engine.run("microservice", INPUTS, tenants.current),
            "plain": lambda: plain(tenants.current, tenants.sources),
        },
        ROUNDS,
        prepare=tenants.next,
    )


class Tenants:
    """A new tenant whenever it is asked for, with the template's sources in its storage.

    Attributes:
        current: the last one.
        sources: the digest of each source, by name.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._desk = runtime.desk
        self._template = runtime.catalog.load("microservice")
        self._numbers = count(1)
        self.current = ""
        self.sources: Mapping[str, str] = {}

    def next(self) -> None:
        self.current = f"bench-{next(self._numbers)}"
        self.sources = self._desk.pack(self.current, self._template)


def _plain_flow(runtime: Runtime) -> Callable[[str, Mapping[str, str]], Awaitable[Any]]:
    from prefect import flow, task
    from prefect.cache_policies import INPUTS as BY_INPUTS

    from tasks.threads import in_thread

    steps = {step.name: step for step in STEPS}

    @task(persist_result=True, cache_policy=BY_INPUTS, retries=4)
    async def do_step(name: str, tenant_id: str, sources: Mapping[str, str]) -> str:
        return await in_thread(_render_and_publish, runtime, steps[name], tenant_id, sources)

    named = {name: do_step.with_options(name=name, task_run_name=name) for name in steps}

    @flow(persist_result=True)
    async def plain_microservice(tenant_id: str, sources: Mapping[str, str]) -> None:
        done: dict[str, asyncio.Task[str]] = {}

        async def one(step: Step) -> str:
            await asyncio.gather(*(done[need] for need in step.needs))
            return await named[step.name](step.name, tenant_id, sources)

        for step in STEPS:
            done[step.name] = asyncio.create_task(one(step))
        await asyncio.gather(*done.values())

    return plain_microservice


def _render_and_publish(
    runtime: Runtime, step: Step, tenant_id: str, sources: Mapping[str, str]
) -> str:
    """The blocking body of a plain step; the commit's id."""
    storage, host = runtime.storage, runtime.host
    limits = RenderLimits.from_settings(runtime.settings)
    rendered = render(RenderOrder(step.layers), sources, storage, tenant_id, limits)
    if not step.needs:
        host.ensure_repository(
            tenant_id, "bench", "orders", effect_key=f"{tenant_id}:plain", description="plain"
        )
    order = CommitOrder(
        project_id="bench",
        repository="orders",
        message=f"Apply {step.name}",
        trailers=(("Factory-Run", tenant_id), ("Factory-Step", step.name)),
        author="bench",
        at=datetime.now(UTC),
        follows=frozenset(step.needs),
    )
    with storage.open(tenant_id, rendered.reference.digest) as body:
        return host.ensure_commit(tenant_id, order, read_tree(body)).sha


if __name__ == "__main__":
    main()
