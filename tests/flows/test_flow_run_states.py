"""A run's flow run in Prefect: launched, taken up again, shown. On a real server."""

from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from factory_runtime.domain.errors import CancelledError, HostRejectedError
from factory_runtime.domain.run import RunStatus
from factory_runtime.orchestration.launch import PrefectLauncher
from tests.factory import until
from tests.prefect_server import (
    FlowProcess,
    Prefect,
    a_launcher,
    a_queued_run,
    flow_run_id,
    launched,
)

pytestmark = pytest.mark.slow

PREFECTS_OWN = [
    *("RUNNING", "PAUSED", "COMPLETED", "PENDING"),
    *(pytest.param(like, marks=pytest.mark.soak) for like in ("FAILED", "CRASHED", "SCHEDULED")),
]


@pytest.fixture
def launcher() -> PrefectLauncher:
    return a_launcher()


# launch


def test_a_run_asked_for_by_many_at_once_has_one_flow_run(
    prefect: Prefect, launcher: PrefectLauncher
):
    run = a_queued_run()

    def launch(_: int) -> str:
        # Prefect's settings, and so the server's address, are the context's.
        return contextvars.Context.run(contexts.pop(), launcher.launch, run)

    contexts = [contextvars.copy_context() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        (flow_run,) = set(threads.map(launch, range(8)))
    made = prefect.flow_run(flow_run)
    assert made["name"] == run.id
    assert made["parameters"] == {"service_name": "succeeds"}
    assert made["labels"]["factory.run-id"] == run.id
    assert made["labels"]["factory.tenant-id"] == run.tenant_id


def test_a_flow_run_that_was_never_begun_is_left_as_it_is(
    prefect: Prefect, launcher: PrefectLauncher
):
    run = launched()
    assert launcher.launch(run) == run.flow_run_id
    assert prefect.history(flow_run_id(run)) == ["Pending"]


@pytest.mark.parametrize("left", PREFECTS_OWN)
def test_a_begun_flow_run_is_executed_again_from_any_state(
    prefect: Prefect, launcher: PrefectLauncher, process: FlowProcess, left: str
):
    run = launched()
    flow_run = flow_run_id(run)
    prefect.force(flow_run, "RUNNING")
    prefect.force(flow_run, left)
    assert launcher.launch(run) == flow_run
    assert prefect.state(flow_run) == ("SCHEDULED", "AwaitingRetry")
    assert process.execute(flow_run) == {"ended": "Completed", "hooks": ["Completed"], "told": []}
    history = ["AwaitingRetry", "Running", "Completed"]
    assert prefect.history(flow_run)[-3:] == history
    assert prefect.flow_run(flow_run)["run_count"] >= 2


@pytest.mark.parametrize("left", ["CANCELLING", "CANCELLED"])
def test_a_flow_run_that_somebody_stops_in_prefect_is_left_as_it_is(
    prefect: Prefect, launcher: PrefectLauncher, left: str
):
    run = launched()
    prefect.force(flow_run_id(run), "RUNNING")
    prefect.force(flow_run_id(run), left)
    with pytest.raises(CancelledError, match="in Prefect"):
        launcher.launch(run)
    assert prefect.state(flow_run_id(run))[0] == left


def test_a_flow_run_that_was_executed_to_its_end_is_executed_again(
    prefect: Prefect, launcher: PrefectLauncher, process: FlowProcess
):
    run = launched()
    flow_run = flow_run_id(run)
    process.execute(flow_run)
    assert launcher.launch(replace(run, cycle=1)) == flow_run
    assert process.execute(flow_run)["ended"] == "Completed"
    once = ["Running", "Completed"]
    assert prefect.history(flow_run) == ["Pending", *once, "AwaitingRetry", *once]


def test_a_deleted_flow_run_is_made_anew_and_once(
    prefect: Prefect, launcher: PrefectLauncher, process: FlowProcess
):
    run = launched()
    process.execute(flow_run_id(run))
    prefect.delete(flow_run_id(run))
    made = launcher.launch(run)
    assert made != run.flow_run_id
    assert launcher.launch(run) == made
    assert process.execute(made)["ended"] == "Completed"


def test_a_launch_that_nobody_wrote_down_is_found_again_and_made_ready(
    prefect: Prefect, launcher: PrefectLauncher
):
    run = a_queued_run()
    flow_run = launcher.launch(run)
    prefect.force(flow_run, "CRASHED")
    assert launcher.launch(run) == flow_run
    assert prefect.state(flow_run) == ("SCHEDULED", "AwaitingRetry")


def test_inputs_that_prefect_cannot_take_are_refused_for_good(
    prefect: Prefect, launcher: PrefectLauncher
):
    with pytest.raises(HostRejectedError) as refused:
        launcher.launch(a_queued_run("x" * 600_000))
    assert "512 KiB" in str(refused.value.hint)
    assert launched().flow_run_id is not None


# show_status

SHOWN = [
    (RunStatus.QUEUED, "PENDING", "Queued"),
    (RunStatus.PAUSED, "PAUSED", "Paused"),
    (RunStatus.WAITING, "PAUSED", "Waiting"),
    (RunStatus.RUNNING, "RUNNING", "Running"),
    (RunStatus.SUCCEEDED, "COMPLETED", "Completed"),
    (RunStatus.FAILED, "FAILED", "Failed"),
    (RunStatus.CANCELLED, "CANCELLED", "Cancelled"),
]


@pytest.mark.parametrize(("status", "kind", "name"), SHOWN)
def test_a_status_is_shown_once_and_the_flow_run_can_still_be_executed(
    prefect: Prefect,
    launcher: PrefectLauncher,
    process: FlowProcess,
    status: RunStatus,
    kind: str,
    name: str,
):
    run = launched()
    flow_run = flow_run_id(run)
    prefect.force(flow_run, "RUNNING" if kind != "RUNNING" else "CRASHED")
    has_slot = status is RunStatus.RUNNING
    moved = replace(run, status=status, admitted_at=run.admitted_at if has_slot else None)
    launcher.show_status(moved)
    assert prefect.state(flow_run) == (kind, name)
    history = prefect.history(flow_run)
    launcher.show_status(moved)
    assert prefect.history(flow_run) == history
    # Straight from there, as a process that was told of it before may do.
    assert process.execute(flow_run)["ended"] == "Completed"


def test_a_run_that_gave_its_slot_back_is_shown_as_queued(
    prefect: Prefect, launcher: PrefectLauncher
):
    run = launched()
    prefect.force(flow_run_id(run), "RUNNING")
    launcher.show_status(replace(run, status=RunStatus.RUNNING, admitted_at=None))
    assert prefect.state(flow_run_id(run)) == ("PENDING", "Queued")


@pytest.mark.parametrize(
    ("status", "stopping"),
    [
        (RunStatus.QUEUED, "CANCELLED"),
        (RunStatus.PAUSED, "CANCELLED"),
        (RunStatus.RUNNING, "CANCELLING"),
    ],
)
def test_a_cancel_asked_for_in_prefect_is_not_painted_over(
    prefect: Prefect, launcher: PrefectLauncher, status: RunStatus, stopping: str
):
    run = launched()
    prefect.force(flow_run_id(run), stopping)
    launcher.show_status(replace(run, status=status))
    assert prefect.state(flow_run_id(run))[0] == stopping


def test_an_ended_run_is_shown_over_a_cancel(prefect: Prefect, launcher: PrefectLauncher):
    run = launched()
    prefect.force(flow_run_id(run), "CANCELLING")
    launcher.show_status(replace(run, status=RunStatus.SUCCEEDED))
    assert prefect.state(flow_run_id(run)) == ("COMPLETED", "Completed")


def test_a_deleted_flow_run_is_let_be(prefect: Prefect, launcher: PrefectLauncher):
    run = launched()
    prefect.delete(flow_run_id(run))
    launcher.show_status(replace(run, status=RunStatus.PAUSED))
    found = prefect.ask("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [run.id]}}})
    assert found == []


# find_cancelled


def test_of_many_flow_runs_those_cancelled_in_prefect_are_found(
    prefect: Prefect, launcher: PrefectLauncher
):
    cancelled, cancelling, running, never_asked = (launched() for _ in range(4))
    for run, kind in (
        (cancelled, "CANCELLED"),
        (cancelling, "CANCELLING"),
        (running, "RUNNING"),
        (never_asked, "CANCELLED"),
    ):
        prefect.force(flow_run_id(run), kind)
    ids = [str(uuid4()) for _ in range(450)]
    ids[3], ids[250], ids[449] = map(flow_run_id, (cancelled, running, cancelling))
    found = launcher.find_cancelled(ids)
    assert found == {cancelled.flow_run_id, cancelling.flow_run_id}
    assert launcher.find_cancelled([]) == frozenset()


# what flows and tasks may do with it


def test_a_flow_that_aborts_leaves_the_state_that_was_forced_and_calls_no_hook(
    prefect: Prefect, launcher: PrefectLauncher, process: FlowProcess
):
    run = launched("leaves")
    said = process.execute(flow_run_id(run))
    assert said == {"ended": "Abort: the run waits", "hooks": [], "told": []}
    assert prefect.history(flow_run_id(run)) == ["Pending", "Running", "Waiting"]
    assert prefect.state(flow_run_id(run)) == ("PAUSED", "Waiting")


def test_a_task_of_a_waiting_job_ends_at_once_and_its_flow_goes_on(
    prefect: Prefect,
    launcher: PrefectLauncher,
    process: FlowProcess,
):
    run = launched("waits")
    said = process.execute(flow_run_id(run))
    assert said == {"ended": "Completed", "hooks": ["Completed"], "told": ["PAUSED Waiting"]}
    wanted = [("COMPLETED", "Completed"), ("COMPLETED", "Completed"), ("PAUSED", "Waiting")]
    until(
        lambda: sorted(one[1:] for one in prefect.task_runs(flow_run_id(run))) == wanted,
        "Prefect has heard of all three",
    )
