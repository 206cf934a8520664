"""Runs that are launched into a work pool: whose flow run begins once, whoever dies on the way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from datetime import timedelta

import pytest

from factory_runtime.domain.errors import (
    CancelledError,
    ConflictError,
    PrefectFailedError,
    PrefectUnavailableError,
)
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunTransaction
from factory_runtime.services.dispatch import START_WITHIN, admit, dispatch_next
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.engine import Walk, begin_walk
from factory_runtime.services.locks import POOL, dispatcher_of
from factory_runtime.services.sweep import sweep, sweep_pool
from tests.builders import TENANT
from tests.small_factory import FlowRuns, SmallFactory, steps

WORKER = "another-machine:7"
PATIENCE = timedelta(minutes=5)


class Killed(BaseException):
    """Nothing of the process is left to handle it."""


class Pool(FlowRuns):
    """A Prefect whose workers begin what is handed over.

    Attributes:
        handed: flow runs that were handed over, in order.
        ended: those that somebody ended, or deleted, there.
        fails: raised by the next that is handed over, before it is.
        dies: where its dispatcher is killed: "launch" or "hand_over".
    """

    def __init__(self, small: SmallFactory) -> None:
        super().__init__()
        self.handed: list[str] = []
        self.ended: set[str] = set()
        self.fails: list[Exception] = []
        self.dies = ""
        self._small = small

    def launch(self, run: Run) -> str:
        made = super().launch(run)
        if self.dies == "launch":
            raise Killed
        return made

    def hand_over(self, run: Run) -> timedelta:
        self._refuse_if_away()
        if self.fails:
            raise self.fails.pop()
        written = self._small.run(run).flow_run_id
        assert written == run.flow_run_id, "a worker would not find the run"
        self.handed.append(str(written))
        self.ended.discard(str(written))
        if self.dies == "hand_over":
            raise Killed
        return PATIENCE

    def find_unattended(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        self._refuse_if_away()
        return frozenset(flow_run_ids).intersection(self.ended)


@pytest.fixture
def small(factory: SmallFactory) -> SmallFactory:
    factory.template(steps("a:"))
    return factory


@pytest.fixture
def pool(small: SmallFactory) -> Pool:
    return Pool(small)


def dispatch(small: SmallFactory, pool: Pool, worker: str = WORKER) -> Run | None:
    return dispatch_next(small.store, pool, small.clock, 1, worker)


def handed_over(small: SmallFactory, pool: Pool) -> Run:
    small.request()
    run = dispatch(small, pool)
    assert run is not None
    return run


def begins(small: SmallFactory, run: Run) -> bool:
    """Whether a worker that begins the flow run walks the run."""
    return isinstance(begin_walk(small.engine, TENANT, run.id, str(run.flow_run_id)), Walk)


def test_a_flow_run_is_handed_over_when_its_id_is_written_down(small: SmallFactory, pool: Pool):
    run = handed_over(small, pool)
    assert pool.handed == [run.flow_run_id]
    assert small.walker(run) == dispatcher_of(POOL)
    assert begins(small, run)


def test_its_slot_outlives_the_dispatcher_for_as_long_as_a_worker_may_take(
    small: SmallFactory, pool: Pool, dead: str
):
    small.request()
    run = dispatch(small, pool, dead)
    assert run is not None
    small.clock.pass_time(PATIENCE - timedelta(seconds=1))
    assert sweep(small.store, small.clock).left == 0
    assert dispatch(small, pool) is None
    small.clock.pass_time(timedelta(seconds=1))
    assert sweep(small.store, small.clock).left == 1
    with pytest.raises(ConflictError, match="waits to be admitted"):
        begins(small, run)
    assert dispatch(small, pool) == small.run(run)
    assert begins(small, run)


def test_a_worker_that_is_quicker_than_the_dispatcher_keeps_the_run(
    small: SmallFactory, pool: Pool
):
    class Quick(Pool):
        def hand_over(self, run: Run) -> timedelta:
            patience = super().hand_over(run)
            assert begins(small, run)
            return patience

    run = handed_over(small, Quick(small))
    walker = small.walker(run)
    assert walker is not None
    assert walker.startswith(small.engine.worker)


@pytest.mark.parametrize("at", ["launch", "hand_over"])
def test_one_whose_dispatcher_is_killed_on_the_way_is_handed_over_once_more(
    small: SmallFactory, pool: Pool, at: str
):
    small.request()
    pool.dies = at
    with pytest.raises(Killed):
        dispatch(small, pool)
    pool.dies = ""
    small.clock.pass_time(START_WITHIN)
    assert sweep(small.store, small.clock).left == 1
    run = dispatch(small, pool)
    assert run is not None
    assert set(pool.handed) == {f"flow-of-{run.id}"}
    assert begins(small, run)


@pytest.mark.parametrize("failure", [PrefectUnavailableError("away"), PrefectFailedError("500")])
def test_one_that_cannot_be_handed_over_gives_its_slot_back(
    small: SmallFactory, pool: Pool, failure: Exception
):
    run = small.request()
    pool.fails = [failure]
    with suppress(PrefectUnavailableError):
        assert dispatch(small, pool) is None
    assert small.run(run).admitted_at is None
    small.clock.pass_time(timedelta(seconds=2))
    assert dispatch(small, pool) == small.run(run)


def test_one_that_was_cancelled_in_prefect_meanwhile_is_cancelled(small: SmallFactory, pool: Pool):
    run = small.request()
    pool.fails = [CancelledError("by somebody")]
    assert dispatch(small, pool) is None
    assert small.run(run).status is RunStatus.CANCELLED


def test_one_that_no_worker_will_begin_is_handed_over_again_after_a_growing_while(
    small: SmallFactory, pool: Pool
):
    run = handed_over(small, pool)
    assert sweep_pool(small.store, small.clock, pool) == 0
    for wait in (2, 4, 8):
        pool.ended.add(str(run.flow_run_id))
        assert sweep_pool(small.store, small.clock, pool) == 1
        small.clock.pass_time(timedelta(seconds=wait - 1))
        assert dispatch(small, pool) is None
        small.clock.pass_time(timedelta(seconds=1))
        assert dispatch(small, pool) == small.run(run)
    assert len(pool.handed) == 4


def test_one_that_a_worker_is_at_is_let_be_whatever_prefect_says(small: SmallFactory, pool: Pool):
    run = handed_over(small, pool)
    assert begins(small, run)
    pool.ended.add(str(run.flow_run_id))
    assert sweep_pool(small.store, small.clock, pool) == 0


def test_what_is_at_work_costs_a_look_at_the_pool_nothing(
    small: SmallFactory, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    assert begins(small, handed_over(small, pool))
    small.request()
    waits = dispatch_next(small.store, pool, small.clock, 2, WORKER)
    assert waits is not None
    begun: list[str] = []
    begin = small.store.begin

    def counted(tenant_id: str, **how: bool) -> AbstractContextManager[RunTransaction]:
        begun.append(tenant_id)
        return begin(tenant_id, **how)

    monkeypatch.setattr(small.store, "begin", counted)
    assert sweep_pool(small.store, small.clock, pool) == 0
    assert begun == []
    pool.ended.add(str(waits.flow_run_id))
    assert sweep_pool(small.store, small.clock, pool) == 1


def test_one_that_goes_on_while_prefect_is_asked_keeps_its_slot(
    small: SmallFactory, pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    run = handed_over(small, pool)

    def ask_slowly(flow_run_ids: Sequence[str]) -> frozenset[str]:
        if small.walker(run) == dispatcher_of(POOL):
            small.clock.pass_time(PATIENCE)
            sweep(small.store, small.clock)
            assert dispatch(small, pool) is not None
        return frozenset(flow_run_ids)

    monkeypatch.setattr(pool, "find_unattended", ask_slowly)
    assert sweep_pool(small.store, small.clock, pool) == 0
    assert small.run(run).admitted_at is not None


def test_one_that_is_asked_to_stop_before_a_worker_has_it_is_cancelled_at_once(
    small: SmallFactory, pool: Pool
):
    run = handed_over(small, pool)
    assert begins(small, run)
    small.clock.pass_time(small.engine.lease)
    sweep(small.store, small.clock)  # its worker was killed
    again = dispatch(small, pool)
    assert again is not None
    assert again.status is RunStatus.RUNNING
    cancel_run(small.store, small.clock, TENANT, run.id, "ada")
    assert small.run(run).status is RunStatus.RUNNING
    assert sweep(small.store, small.clock).cancelled == 1
    assert small.run(run).status is RunStatus.CANCELLED


def test_one_that_lost_its_slot_gets_it_from_within_its_flow_where_its_turn_has_come(
    small: SmallFactory, pool: Pool
):
    run = handed_over(small, pool)
    small.clock.pass_time(PATIENCE)
    sweep(small.store, small.clock)
    admitted = admit(small.store, small.clock, small.run(run), 1, small.engine.worker)
    assert admitted.admitted_at is not None
    assert begins(small, run)
