"""The scheduled sweep as a flow: which looks it makes, on the in-memory store."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

import flows.sweep
from factory_runtime.domain.run import Run
from factory_runtime.services.dispatch import dispatch_next
from tests.small_factory import FlowRuns, SmallFactory, steps


class Pool(FlowRuns):
    """A Prefect whose workers begin what is handed over; somebody deleted all of it since."""

    def hand_over(self, run: Run) -> timedelta:
        del run
        return timedelta(minutes=5)

    def is_deleted(self) -> None:
        self.made.clear()


@pytest.mark.parametrize(("pool", "keeps_its_slot"), [("factory", False), (None, True)])
def test_a_run_that_no_worker_of_the_pool_will_begin_gives_its_slot_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str | None, keeps_its_slot: bool
):
    small, prefect = SmallFactory(tmp_path), Pool()
    small.template(steps("a:"))
    small.request()
    run = dispatch_next(small.store, prefect, small.clock, 1, "elsewhere:7")
    assert run is not None
    prefect.is_deleted()

    def untold(patience: timedelta) -> None:
        del patience

    runtime = SimpleNamespace(
        store=small.store,
        clock=small.clock,
        launcher=prefect,
        settings=SimpleNamespace(work_pool=pool),
        look_for_stuck=lambda: None,
        tell=untold,
    )

    async def nothing() -> None:
        pass

    monkeypatch.setattr(flows.sweep, "shared_runtime", lambda: runtime)
    monkeypatch.setattr(flows.sweep, "drain", nothing)
    asyncio.run(flows.sweep.sweep.fn())
    assert (small.run(run).admitted_at is not None) == keeps_its_slot
