"""Failed runs that are sent round again with changes."""

from __future__ import annotations

from typing import Any

from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.bodies import from_body
from factory_runtime.services.retry_run import retry_job, retry_run
from tests.builders import TENANT
from tests.rounds import run_through
from tests.small_factory import SmallFactory, steps

INPUTS = (
    "inputs: {type: object, properties: {"
    "text: {type: string, default: hello}, other: {type: string, default: hi},"
    " number: {type: integer, default: 1, maximum: 9},"
    " things: {type: array, items: {type: string}, default: []}, any: {default: 1}}}\n"
)


def failed(factory: SmallFactory, *lines: str, inputs: Any = None, more: str = "") -> Run:
    factory.template(INPUTS + steps(*lines) + more)
    run = run_through(factory, factory.request(inputs=inputs))
    assert run.status is RunStatus.FAILED
    return run


def again(factory: SmallFactory, run: Run, step: str | None = None, **change: Any) -> Run:
    asked = Change(**change)
    if step is None:
        return retry_run(
            factory.store, factory.clock, TENANT, run.id, "bob", change=asked, desk=factory.desk
        )
    return retry_job(
        factory.store, factory.clock, TENANT, run.id, step, "bob", change=asked, desk=factory.desk
    )


def outputs(factory: SmallFactory, run: Run, step: str) -> Any:
    return from_body(factory.storage, TENANT, factory.jobs(run)[step].outputs)
