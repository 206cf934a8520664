"""Admitting runs: each once, in order, and none lost when Prefect is away."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    FactoryError,
    HostRejectedError,
    IllegalTransitionError,
    PrefectUnavailableError,
    RunNotFoundError,
)
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.services.dispatch import admit, dispatch_next
from factory_runtime.services.end_run import cancel_run
from tests.builders import TENANT
from tests.small_factory import SmallFactory, steps


class FlowRuns:
    """A Prefect that makes one flow run for each run, as ``ports.Launcher`` says; or is away."""

    def __init__(self) -> None:
        self.away = False
        self.made: dict[str, str] = {}
        self._lock = threading.Lock()

    def launch(self, run: Run) -> str:
        if self.away:
            raise PrefectUnavailableError("no Prefect server answers")
        with self._lock:
            return self.made.setdefault(run.id, f"flow-of-{run.id}")


@pytest.fixture
def prefect() -> FlowRuns:
    return FlowRuns()


@pytest.fixture
def small(factory: SmallFactory) -> SmallFactory:
    factory.template(steps("a:"))
    return factory


def test_the_urgent_goes_first_and_then_the_oldest(small: SmallFactory, prefect: FlowRuns):
    asked: list[Run] = []
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL, Priority.HIGH):
        asked.append(small.request(priority=priority))
        small.clock.pass_time()
    order: list[str] = []
    while (run := dispatch_next(small.store, prefect, small.clock)) is not None:
        order.append(run.id)
    assert order == [asked[number].id for number in (2, 4, 1, 3, 0)]


def test_a_dispatched_run_is_queued_and_knows_its_flow_run(small: SmallFactory, prefect: FlowRuns):
    small.request()
    run = dispatch_next(small.store, prefect, small.clock)
    assert run is not None
    assert run == small.run(run)
    assert run.status is RunStatus.QUEUED
    assert run.flow_run_id == prefect.made[run.id]
    assert small.moves(run) == ["Requested", "Validated", "Queued"]


def test_where_no_run_waits_nothing_is_launched(small: SmallFactory, prefect: FlowRuns):
    assert dispatch_next(small.store, prefect, small.clock) is None
    assert prefect.made == {}


def test_two_dispatchers_that_race_admit_each_run_once(small: SmallFactory, prefect: FlowRuns):
    asked = {small.request(tenant_id=tenant).id for tenant in ("acme", "other") for _ in range(5)}
    together = threading.Barrier(2)

    def dispatch(_: int) -> list[str]:
        together.wait()
        admitted: list[str] = []
        while (run := dispatch_next(small.store, prefect, small.clock)) is not None:
            admitted.append(run.id)
        return admitted

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(dispatch, range(2))
    assert sorted([*one, *other]) == sorted(asked)
    assert set(prefect.made) == asked


def test_a_run_is_admitted_once(small: SmallFactory):
    run = small.request()
    admit(small.store, small.clock, TENANT, run.id)
    with pytest.raises(IllegalTransitionError, match="Queued"):
        admit(small.store, small.clock, TENANT, run.id)
    with pytest.raises(RunNotFoundError):
        admit(small.store, small.clock, "other", run.id)


def test_while_prefect_is_away_one_run_waits_in_the_queue_and_the_others_where_they_are(
    small: SmallFactory, prefect: FlowRuns
):
    first, second = small.request(), small.request()
    prefect.away = True
    for _ in range(3):
        with pytest.raises(PrefectUnavailableError):
            dispatch_next(small.store, prefect, small.clock)
    statuses = sorted(small.run(run).status for run in (first, second))
    assert statuses == [RunStatus.QUEUED, RunStatus.VALIDATED]


def test_a_run_that_prefect_did_not_take_is_launched_when_it_is_back(
    small: SmallFactory, prefect: FlowRuns
):
    asked = small.request()
    prefect.away = True
    with pytest.raises(PrefectUnavailableError):
        dispatch_next(small.store, prefect, small.clock)
    prefect.away = False
    run = dispatch_next(small.store, prefect, small.clock)
    assert run is not None
    assert (run.id, run.flow_run_id) == (asked.id, prefect.made[asked.id])
    assert dispatch_next(small.store, prefect, small.clock) is None
    assert small.moves(run) == ["Requested", "Validated", "Queued"]


def test_a_run_left_queued_by_a_killed_dispatcher_is_given_to_one_of_two(
    small: SmallFactory, prefect: FlowRuns
):
    asked = small.request()
    admit(small.store, small.clock, TENANT, asked.id)
    together = threading.Barrier(2)

    def dispatch(_: int) -> Run | None:
        together.wait()
        return dispatch_next(small.store, prefect, small.clock)

    with ThreadPoolExecutor(2) as pool:
        given = [run for run in pool.map(dispatch, range(2)) if run is not None]
    assert [run.id for run in given] == [asked.id]


def test_a_run_cancelled_while_prefect_was_away_is_not_launched(
    small: SmallFactory, prefect: FlowRuns
):
    run = small.request()
    prefect.away = True
    with pytest.raises(PrefectUnavailableError):
        dispatch_next(small.store, prefect, small.clock)
    cancel_run(small.store, small.clock, TENANT, run.id, "ada")
    prefect.away = False
    assert dispatch_next(small.store, prefect, small.clock) is None
    assert prefect.made == {}


def test_a_run_cancelled_while_it_was_launched_stays_cancelled(small: SmallFactory):
    class CancelledMeanwhile(FlowRuns):
        def launch(self, run: Run) -> str:
            cancel_run(small.store, small.clock, TENANT, run.id, "ada")
            return super().launch(run)

    run = small.request()
    assert dispatch_next(small.store, CancelledMeanwhile(), small.clock) is None
    assert small.run(run).status is RunStatus.CANCELLED
    assert small.run(run).flow_run_id is None


def test_a_run_that_began_in_prefect_is_not_launched_a_second_time(
    small: SmallFactory, prefect: FlowRuns
):
    asked = small.request(flow_run_id="flow-of-prefect")
    run = dispatch_next(small.store, prefect, small.clock)
    assert run is not None
    assert (run.id, run.status) == (asked.id, RunStatus.QUEUED)
    assert run.flow_run_id == "flow-of-prefect"
    assert dispatch_next(small.store, prefect, small.clock) is None
    assert prefect.made == {}


@pytest.mark.parametrize(
    "refusal", [HostRejectedError("Prefect says 422"), ArtifactNotFoundError("its inputs are gone")]
)
def test_a_run_that_can_never_be_launched_fails_and_holds_nobody_up(
    small: SmallFactory, refusal: FactoryError
):
    class RefusesOne(FlowRuns):
        def launch(self, run: Run) -> str:
            if run.id == refused.id:
                raise refusal
            return super().launch(run)

    refused = small.request(tenant_id="acme")
    small.clock.pass_time()
    other = small.request(tenant_id="other")
    given = dispatch_next(small.store, RefusesOne(), small.clock)
    assert given is not None
    assert given.id == other.id
    ended = small.run(refused)
    assert (ended.status, ended.error) == (RunStatus.FAILED, str(refusal))
