"""What Prefect shows of a run in the end is what became of it. On a real server."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import PrefectUnavailableError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration.show_run import RunShowcase
from factory_runtime.ports import RunStore, RunTransaction
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.services.topics import SHOW_RUN, SHOW_STATUS
from tests.builders import NOON, TENANT, a_job, a_message, an_attempt
from tests.factory import until
from tests.prefect_server import (
    FlowProcess,
    Prefect,
    a_launcher,
    flow_run_id,
    launched,
)
from tests.small_factory import SettableClock

pytestmark = pytest.mark.slow


@pytest.fixture
def store() -> Iterator[InMemoryRunStore]:
    store = InMemoryRunStore()
    yield store
    store.close()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def showcase(store: InMemoryRunStore, clock: SettableClock) -> RunShowcase:
    return RunShowcase(store, clock)


def recorded(store: RunStore, run: Run, outcome: Outcome | None = None, **values: Any) -> Run:
    """The run as our record has it, with one job; a lost attempt of it, say."""
    run = replace(run, **values)
    if run.ended:
        run = replace(run, completed_at=NOON)
    if run.status is not RunStatus.RUNNING:
        run = replace(run, admitted_at=None)
    job = a_job(run, status=JobStatus.SUCCEEDED, attempt=1)
    with store.begin(run.tenant_id) as tx:
        tx.add_run(run, [job])
        if outcome is not None:
            tx.add_attempt(an_attempt(job, outcome=outcome, completed_at=NOON))
    return run


def show(showcase: RunShowcase, run: Run) -> None:
    showcase.show(a_message(topic=SHOW_RUN, payload={"run_id": run.id}))


def show_status(showcase: RunShowcase, run: Run) -> None:
    showcase.show_status(a_message(topic=SHOW_STATUS, payload={"run_id": run.id}))


def summaries(prefect: Prefect, run: Run) -> list[str]:
    mine = {"flow_runs": {"id": {"any_": [run.flow_run_id]}}}
    found = prefect.ask("POST", "/artifacts/filter", mine)
    return [one["key"] for one in found if one["key"].endswith("-summary")]


# an ended run


def test_a_task_run_left_by_a_killed_process_is_crashed_when_its_run_is_shown(
    prefect: Prefect,
    flow_home: Path,
    process: FlowProcess,
    store: InMemoryRunStore,
    showcase: RunShowcase,
):
    run = launched("hangs")
    flow_run = flow_run_id(run)
    killed = FlowProcess(flow_home, prefect.api_url)
    killed.begin(flow_run)
    assert killed.hear() == {"begun": True}

    def states(step: str) -> list[str]:
        return [kind for key, kind, _ in prefect.task_runs(flow_run) if key.startswith(step)]

    until(lambda: states("hanging") == ["RUNNING"], "Prefect has heard of the task")
    killed.kill()
    assert a_launcher().launch(run) == flow_run
    assert process.execute(flow_run)["ended"] == "Completed"
    until(lambda: states("base") == ["COMPLETED", "COMPLETED"], "it has heard of the others")
    assert states("hanging") == ["RUNNING"]
    run = recorded(store, run, status=RunStatus.SUCCEEDED)
    show(showcase, run)
    assert states("hanging") == ["CRASHED"]
    assert states("base") == ["COMPLETED", "COMPLETED"]
    assert summaries(prefect, run) == ["microservice-summary"]


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.SUSPENDED])
def test_task_runs_begun_last_have_time_to_tell_of_their_end(
    prefect: Prefect,
    store: InMemoryRunStore,
    clock: SettableClock,
    showcase: RunShowcase,
    outcome: Outcome,
):
    run = recorded(store, launched(), outcome, status=RunStatus.FAILED)
    prefect.force(flow_run_id(run), "RUNNING")
    for kind in ("RUNNING", "PENDING", "SCHEDULED", "COMPLETED"):
        prefect.add_task_run(flow_run_id(run), kind, kind)
    prefect.force(flow_run_id(run), "FAILED")
    before = prefect.task_runs(flow_run_id(run))
    with pytest.raises(PrefectUnavailableError):
        show(showcase, run)
    assert prefect.task_runs(flow_run_id(run)) == before
    clock.pass_time(timedelta(seconds=10))
    show(showcase, run)
    kinds = {step: kind for step, kind, _ in prefect.task_runs(flow_run_id(run))}
    assert kinds.pop("COMPLETED") == "COMPLETED"
    assert set(kinds.values()) == {"CRASHED"}
    assert len(kinds) == 3


def test_of_a_run_that_lost_nothing_no_task_run_is_touched(
    prefect: Prefect, store: InMemoryRunStore, clock: SettableClock, showcase: RunShowcase
):
    run = recorded(store, launched(), Outcome.SUCCEEDED, status=RunStatus.SUCCEEDED)
    prefect.force(flow_run_id(run), "RUNNING")
    prefect.add_task_run(flow_run_id(run), "late", "RUNNING")
    prefect.force(flow_run_id(run), "COMPLETED")
    clock.pass_time(timedelta(seconds=10))
    show(showcase, run)
    assert prefect.task_runs(flow_run_id(run)) == [("late", "RUNNING", "Running")]
    assert summaries(prefect, run) == ["microservice-summary"]


@pytest.mark.parametrize(
    ("ours", "theirs", "shown"),
    [
        (RunStatus.CANCELLED, "COMPLETED", "CANCELLED"),
        (RunStatus.SUCCEEDED, "FAILED", "COMPLETED"),
        pytest.param(RunStatus.FAILED, "CRASHED", "FAILED", marks=pytest.mark.soak),
        pytest.param(RunStatus.CANCELLED, "PAUSED", "CANCELLED", marks=pytest.mark.soak),
        (RunStatus.CANCELLED, "PENDING", "CANCELLED"),
    ],
)
def test_another_end_than_ours_is_made_ours_at_once(
    prefect: Prefect,
    store: InMemoryRunStore,
    showcase: RunShowcase,
    ours: RunStatus,
    theirs: str,
    shown: str,
):
    run = recorded(store, launched(), status=ours)
    prefect.force(flow_run_id(run), theirs)
    show(showcase, run)
    assert prefect.state(flow_run_id(run))[0] == shown


@pytest.mark.parametrize("theirs", ["RUNNING", "CANCELLING"])
def test_a_flow_has_time_to_tell_of_its_end_itself(
    prefect: Prefect,
    store: InMemoryRunStore,
    clock: SettableClock,
    showcase: RunShowcase,
    theirs: str,
):
    run = recorded(store, launched(), status=RunStatus.SUCCEEDED)
    prefect.force(flow_run_id(run), theirs)
    with pytest.raises(PrefectUnavailableError):
        show(showcase, run)
    assert prefect.state(flow_run_id(run))[0] == theirs
    assert summaries(prefect, run) == []
    clock.pass_time(timedelta(seconds=10))
    show(showcase, run)
    assert prefect.state(flow_run_id(run)) == ("COMPLETED", "Completed")


def test_a_run_that_was_sent_round_again_is_not_shown_as_ended(
    prefect: Prefect, store: InMemoryRunStore, showcase: RunShowcase
):
    run = recorded(store, launched(), cycle=1)
    show(showcase, run)
    assert prefect.history(flow_run_id(run)) == ["Pending"]
    assert summaries(prefect, run) == []


def test_a_deleted_flow_run_has_nothing_to_be_shown_on(
    prefect: Prefect, store: InMemoryRunStore, showcase: RunShowcase
):
    run = recorded(store, launched(), status=RunStatus.FAILED)
    prefect.delete(flow_run_id(run))
    show(showcase, run)
    assert summaries(prefect, run) == []


# a move of an open run


def test_the_message_of_a_move_shows_what_the_run_is_by_then(
    prefect: Prefect, store: InMemoryRunStore, showcase: RunShowcase
):
    run = recorded(store, launched(), status=RunStatus.PAUSED)
    prefect.force(flow_run_id(run), "RUNNING")
    show_status(showcase, run)
    assert prefect.state(flow_run_id(run)) == ("PAUSED", "Paused")


def test_the_message_of_a_move_leaves_an_ended_run_alone(
    prefect: Prefect, store: InMemoryRunStore, showcase: RunShowcase
):
    run = recorded(store, launched(), status=RunStatus.CANCELLED)
    prefect.force(flow_run_id(run), "RUNNING")
    show_status(showcase, run)
    assert prefect.state(flow_run_id(run)) == ("RUNNING", "Running")


class MovesOnceRead:
    """A store in which somebody moves the run right after it was first read."""

    def __init__(self, store: InMemoryRunStore, before: Run, after: Run) -> None:
        self._store, self._move = store, [(before, after)]

    @contextmanager
    def _begin(self, tenant_id: str, read_only: bool) -> Generator[RunTransaction]:
        with self._store.begin(tenant_id, read_only=read_only) as tx:
            yield tx
        if self._move:
            with self._store.begin(tenant_id) as tx:
                tx.save_run(*self._move.pop())

    def begin(
        self, tenant_id: str, *, read_only: bool = False
    ) -> AbstractContextManager[RunTransaction]:
        return self._begin(tenant_id, read_only)


@pytest.mark.parametrize(
    ("to", "shown"),
    [(RunStatus.QUEUED, ("PENDING", "Queued")), (RunStatus.CANCELLED, ("CANCELLED", "Cancelled"))],
)
def test_a_run_that_moves_while_it_is_shown_is_shown_as_it_is_then(
    prefect: Prefect,
    store: InMemoryRunStore,
    clock: SettableClock,
    to: RunStatus,
    shown: tuple[str, str],
):
    run = recorded(store, launched(), status=RunStatus.PAUSED)
    prefect.force(flow_run_id(run), "RUNNING")
    moving = MovesOnceRead(store, run, run.move_to(to, NOON))
    show_status(RunShowcase(cast("RunStore", moving), clock), run)
    assert prefect.state(flow_run_id(run)) == shown
    with store.begin(TENANT, read_only=True) as tx:
        assert tx.get_run(run.id).status is to
