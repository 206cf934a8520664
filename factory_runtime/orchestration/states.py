"""Our status in Prefect's words. Messages hold ids of ours alone."""

from __future__ import annotations

from typing import Any, assert_never

from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running

from factory_runtime.domain.run import Run, RunStatus

QUEUED = "Queued"
"""Name of the state of a run that waits for a slot: pending, and no worker has claimed it."""

_RUNNING = " is running"


def state_of(run: Run) -> State[Any]:
    """Prefect's state for a run.

    None of those for open runs is one that Prefect's workers look for and start. A flow may return
    any but Running and Queued: Prefect takes a flow that says it is running for one to call again.
    """
    match run.status:
        case RunStatus.SUCCEEDED:
            return Completed(message=f"{run.id} succeeded")
        case RunStatus.CANCELLED:
            return Cancelled(message=f"{run.id} was cancelled")
        case RunStatus.FAILED:
            return Failed(message=f"{run.id} failed: see `factory runs show {run.id}`")
        case RunStatus.PAUSED:
            return _halted("Paused", f"`factory runs resume {run.id}` goes on")
        case RunStatus.WAITING:
            return _halted("Waiting", f"{run.id} waits for something outside")
        case RunStatus.RUNNING if run.admitted_at is not None:
            return Running(message=f"{run.id}{_RUNNING}")
        case RunStatus.REQUESTED | RunStatus.VALIDATED | RunStatus.QUEUED | RunStatus.RUNNING:
            return queued_state(run.id)
        case _:
            assert_never(run.status)


def is_begun_in_prefect(state: State[Any]) -> bool:
    """Whether a process has begun the flow run: Running, but not as our record of a run shows it."""
    return state.is_running() and not (state.message or "").endswith(_RUNNING)


def queued_state(run_id: str) -> State[Any]:
    """For the flow run of a run that nobody is to begin yet."""
    return Pending(name=QUEUED, message=f"{run_id} waits for a slot")


def waiting_state(job_id: str) -> State[Any]:
    """For the task run of a job that waits, or was put down: it goes on later, in another one.

    A task that returns it has ended for Prefect, and failed nothing.
    """
    return _halted("Waiting", f"{job_id} goes on later")


def replaced_state(run_id: str) -> State[Any]:
    """For the flow run of an open run that no worker could find its way from: it has another now."""
    return Completed(name="Replaced", message=f"{run_id} goes on in another flow run")


def lost_state() -> State[Any]:
    """For a task run whose process was killed: nobody else would end it."""
    return Crashed(message="its worker was lost")


def _halted(name: str, message: str) -> State[Any]:
    # Never named "Suspended": by that name Prefect's engine knows what it has to stop.
    return State(type=StateType.PAUSED, name=name, message=message)
