"""The flow run of a run: what state it is in, and how it is brought into another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect.client.schemas.objects import State, StateType
from prefect.states import to_state_create

from factory_runtime.domain.run import Run
from factory_runtime.orchestration.prefect_api import GoneError, ask
from factory_runtime.orchestration.states import QUEUED, state_of

STOPPING = frozenset({StateType.CANCELLED, StateType.CANCELLING})
"""States in which somebody in Prefect wants a flow run to stop, or has stopped it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What Prefect shows of a flow run.

    Attributes:
        type: of its state; None where it has none.
        name: of its state.
        begun: how often it entered Running.
        deployment_id: of the deployment that it is of, if it is of one.
        since: when it came into its state; None where it has none.
    """

    id: str
    type: StateType | None
    name: str | None
    begun: int
    deployment_id: str | None = None
    since: datetime | None = None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Shown:
        """Read a flow run as the API gives it."""
        found = answer["state_type"]
        kind = StateType(found) if found else None
        name, begun = answer["state_name"], int(answer["run_count"])
        state = answer.get("state")
        since = datetime.fromisoformat(state["timestamp"]) if state else None
        return cls(str(answer["id"]), kind, name, begun, answer.get("deployment_id"), since)

    @property
    def is_claimed(self) -> bool:
        """Whether a worker is about to begin it."""
        return self.type is StateType.PENDING and self.name != QUEUED

    @property
    def is_attended(self) -> bool:
        """Whether somebody is at it, or will be: a worker that looks for it, or a sweep of ours."""
        looked_for = (StateType.SCHEDULED, StateType.RUNNING, *STOPPING)
        return self.is_claimed or self.type in looked_for

    def is_in(self, state: State[Any]) -> bool:
        """Whether it is in such a state, whenever it came there and whatever it said."""
        return (self.type, self.name) == (state.type, state.name)


def read_flow_run(flow_run_id: str) -> Shown:
    """Ask Prefect for it.

    Raises:
        GoneError: somebody deleted it.
        PrefectUnavailableError: no server answers.
    """
    return Shown.of(ask("GET", "/flow_runs/{id}", id=flow_run_id))


def force_flow_run(flow_run_id: str, state: State[Any]) -> None:
    """Bring a flow run into a state, whatever Prefect's rules say of the move.

    Raises:
        GoneError: somebody deleted it.
        PrefectUnavailableError: no server answers.
    """
    ask("POST", "/flow_runs/{id}/set_state", _by_force(state), id=flow_run_id)


def force_task_run(task_run_id: str, state: State[Any]) -> None:
    """Likewise, for a task run."""
    ask("POST", "/task_runs/{id}/set_state", _by_force(state), id=task_run_id)


def show_status(run: Run) -> None:
    """Have Prefect show the state that is the run's status; a deleted flow run is let be.

    While a run is open, a cancel that somebody asked for in Prefect stays to be seen there: the
    sweep obeys it.

    Raises:
        PrefectUnavailableError: no server answers.
    """
    if run.flow_run_id is None:
        return
    wanted = state_of(run)
    try:
        shown = read_flow_run(run.flow_run_id)
        if shown.is_in(wanted) or (shown.type in STOPPING and not run.ended):
            return
        if shown.is_attended and run.admitted_at is not None and not run.ended:
            return  # a worker begins it, or will: in another state, none would, or a second one
        force_flow_run(run.flow_run_id, wanted)
    except GoneError:
        return


def _by_force(state: State[Any]) -> dict[str, Any]:
    wanted = to_state_create(state).model_dump(mode="json", serialize_as_any=True)
    return {"state": wanted, "force": True}
