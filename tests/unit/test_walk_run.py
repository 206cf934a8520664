"""The flow of a run, when it is stopped: nothing of the run stays in its process."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect.exceptions import Abort

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.run import RunStatus
from factory_runtime.services.engine import begin_walk
from flows import walk
from flows.walk import walk_run
from tests.small_factory import FlowRuns, SmallFactory, steps


@pytest.fixture
def factory(tmp_path: Path) -> Generator[SmallFactory]:
    small = SmallFactory(tmp_path / "templates")
    yield small
    small.store.close()


def test_a_flow_that_is_cancelled_as_it_takes_its_run_up_leaves_it_to_others(
    factory: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    factory.template(steps("a:"))
    run = factory.admit(factory.request())
    prefect = FlowRuns()
    parts = cast(
        Runtime,
        SimpleNamespace(
            engine=factory.engine, store=factory.store, clock=factory.clock, launcher=prefect
        ),
    )

    async def scene() -> None:
        walking = asyncio.create_task(walk_run(parts, run.tenant_id, run.id, "flow-1"))
        loop = asyncio.get_running_loop()

        def begun_and_cancelled(*arguments: Any) -> Any:
            taken = begin_walk(*arguments)
            asyncio.run_coroutine_threadsafe(cancel(), loop).result(30)
            return taken

        async def cancel() -> None:
            walking.cancel()

        monkeypatch.setattr(walk, "begin_walk", begun_and_cancelled)
        await asyncio.wait([walking], timeout=60)
        assert isinstance(walking.exception(), Abort)

    asyncio.run(scene())
    assert prefect.shown == [(run.id, RunStatus.RUNNING)], "and sets no state of its own"
    left = factory.run(run)
    assert (left.status, left.admitted_at, factory.walker(run)) == (RunStatus.RUNNING, None, None)
    assert factory.drive(factory.take_up(left)).status is RunStatus.SUCCEEDED
