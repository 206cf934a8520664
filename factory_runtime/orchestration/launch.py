"""Ask Prefect for the flow run of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from prefect.client.schemas.actions import FlowRunCreate
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry, Pending, to_state_create

from factory_runtime.domain.errors import CancelledError, FactoryError, HostRejectedError
from factory_runtime.domain.run import Run
from factory_runtime.orchestration import flow_runs
from factory_runtime.orchestration.flow_runs import STOPPING, Shown, force_flow_run, read_flow_run
from factory_runtime.orchestration.labels import RUN_ID, TENANT_ID, TRACE_ID
from factory_runtime.orchestration.prefect_api import GoneError, ask
from factory_runtime.services.dispatch import CANCELLED_IN_PREFECT

_AT_ONCE = 200
"""Flow runs in one question: Prefect gives no more."""


class PrefectLauncher:
    """Implements ports.Launcher. Safe to use from many threads."""

    def __init__(self, inputs_of: Callable[[Run], Any]) -> None:
        """``inputs_of`` gives a run's inputs: they are its flow run's parameters."""
        self._inputs_of = inputs_of
        self._flow_ids: dict[str, str] = {}

    def launch(self, run: Run) -> str:
        """The id of the run's flow run, ready to be executed: made, or its old one once more.

        Idempotent by run id and cycle. A flow run that somebody deleted is made anew.

        Raises:
            PrefectUnavailableError: no server answers.
            PrefectFailedError: it answers, and fails at this one.
            CancelledError: somebody cancelled this one there: it is left as it is.
            HostRejectedError: it answers that it cannot take this one, and will again.
        """
        try:
            if run.flow_run_id is not None:
                return _made_ready(read_flow_run(run.flow_run_id), run)
        except GoneError:
            pass  # with its flow run, Prefect has forgotten the idempotency key too
        try:
            return _made_ready(self._create(run), run)
        except HostRejectedError as exc:
            raise HostRejectedError(
                f"Prefect refuses the flow run of {run.id}: {exc}",
                hint="if its inputs are larger than 512 KiB, that is why: give less",
            ) from exc

    def show_status(self, run: Run) -> None:
        """Have Prefect show the state that is the run's status; a deleted flow run is let be.

        Raises:
            PrefectUnavailableError: no server answers.
        """
        flow_runs.show_status(run)

    def find_cancelled(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        """Those of the flow runs that somebody cancelled, or is cancelling, in Prefect.

        Raises:
            PrefectUnavailableError: no server answers.
        """
        found: set[str] = set()
        for start in range(0, len(flow_run_ids), _AT_ONCE):
            some = list(flow_run_ids[start : start + _AT_ONCE])
            wanted = {
                "flow_runs": {"id": {"any_": some}, "state": {"type": {"any_": sorted(STOPPING)}}},
                "sort": "ID_DESC",
                "limit": _AT_ONCE,
            }
            found.update(str(one["id"]) for one in ask("POST", "/flow_runs/filter", wanted))
        return frozenset(found)

    def _create(self, run: Run) -> Shown:
        known = self._flow_ids.get(run.template_id)
        if known is not None:
            try:
                return self._create_for(run, known)
            except FactoryError:
                # Perhaps the server has a new database: ask for the flow again.
                self._flow_ids.pop(run.template_id, None)
        flow_id = str(ask("POST", "/flows/", {"name": run.template_id})["id"])
        made = self._create_for(run, flow_id)
        self._flow_ids[run.template_id] = flow_id
        return made

    def _create_for(self, run: Run, flow_id: str) -> Shown:
        wanted = FlowRunCreate(
            flow_id=UUID(flow_id),
            flow_version=run.template_version,
            name=run.id,
            parameters=self._inputs_of(run),
            labels={RUN_ID: run.id, TENANT_ID: run.tenant_id, TRACE_ID: run.trace_id},
            tags=_tags(run),
            idempotency_key=f"{run.id}:{run.cycle}",
            state=to_state_create(Pending()),
        )
        body = wanted.model_dump(mode="json", exclude_unset=True)
        return Shown.of(ask("POST", "/flow_runs/", body))


def _tags(run: Run) -> list[str]:
    tags = [f"tenant:{run.tenant_id}", f"project:{run.project_id}"]
    return tags if run.undoes is None else [*tags, f"undoes:{run.undoes}"]


def _made_ready(shown: Shown, run: Run) -> str:
    """Its id, in a state that it can be executed from."""
    if shown.type in STOPPING:
        raise CancelledError(CANCELLED_IN_PREFECT)  # made ready, nobody would know of it any more
    # Running, left by a killed process, would do for Prefect; but nobody could tell by it that
    # this run has begun again.
    if shown.begun or shown.type is not StateType.PENDING:
        force_flow_run(shown.id, AwaitingRetry(message=f"{run.id} is taken up again"))
    return shown.id
