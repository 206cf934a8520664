"""A scheduled flow in place of a dispatcher: what it gives back and hands over, on the in-memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from deployments import hand_over as module
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.domain.run import Run
from factory_runtime.services.dispatch import dispatch_next
from factory_runtime.services.turns import no_limits
from tests.small_factory import FlowRuns, SmallFactory, steps

CAP = 2


class Pool(FlowRuns):
    """A Prefect whose workers begin what is handed over."""

    def hand_over(self, run: Run) -> timedelta:
        del run
        return timedelta(minutes=5)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallFactory]:
    made = SmallFactory(tmp_path)
    made.template(steps("a:"))
    yield made
    made.store.close()


@pytest.fixture
def pool(small: SmallFactory, monkeypatch: pytest.MonkeyPatch) -> Pool:
    made = Pool()
    runtime = SimpleNamespace(
        store=small.store,
        clock=small.clock,
        engine=small.engine,
        settings=SimpleNamespace(max_running_runs=CAP),
        policies=SimpleNamespace(limits_of=no_limits),
    )
    monkeypatch.setattr(module, "shared_runtime", lambda: runtime)

    def launcher(runtime: object) -> Pool:
        del runtime
        return made

    monkeypatch.setattr(module, "pool_launcher", launcher)
    return made


def hand_over() -> int:
    return asyncio.run(module.hand_over.fn())


def slots(small: SmallFactory, *runs: Run) -> list[bool]:
    return [small.run(run).admitted_at is not None for run in runs]


def test_all_whose_turn_has_come_are_handed_over_under_the_cap(small: SmallFactory, pool: Pool):
    runs = [small.request() for _ in range(CAP + 1)]
    assert hand_over() == CAP
    assert slots(small, *runs) == [True, True, False]
    assert len(pool.made) == CAP
    assert hand_over() == 0


def test_a_run_that_no_worker_will_begin_gives_its_slot_back(small: SmallFactory, pool: Pool):
    small.request()
    run = dispatch_next(small.store, pool, small.clock, 1, "elsewhere:7")
    assert run is not None
    pool.made.clear()  # somebody deleted its flow run
    hand_over()
    assert slots(small, run) == [False]
    small.clock.pass_time(timedelta(minutes=1))
    assert hand_over() == 1
    assert slots(small, run) == [True]


def test_while_prefect_is_away_no_slot_is_kept(small: SmallFactory, pool: Pool):
    run, pool.away = small.request(), True
    with pytest.raises(PrefectUnavailableError):
        hand_over()
    assert slots(small, run) == [False]
