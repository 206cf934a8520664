"""Ask Prefect for the flow run of a run, and whether it is this process or a worker that begins it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from prefect.client.schemas.actions import FlowRunCreate
from prefect.client.schemas.objects import State, StateType
from prefect.states import AwaitingRetry, Pending, Scheduled, to_state_create

from factory_runtime.domain.errors import (
    CancelledError,
    FactoryError,
    HostRejectedError,
    PrefectFailedError,
    PrefectUnavailableError,
)
from factory_runtime.domain.run import Run
from factory_runtime.orchestration import flow_runs
from factory_runtime.orchestration.flow_runs import STOPPING, Shown, force_flow_run, read_flow_run
from factory_runtime.orchestration.labels import labels_of, tags_of
from factory_runtime.orchestration.prefect_api import GoneError, ask
from factory_runtime.orchestration.states import queued_state, replaced_state
from factory_runtime.services.dispatch import CANCELLED_IN_PREFECT

_AT_ONCE = 200
"""Flow runs in one question: Prefect gives no more."""

_CLAIM_LASTS = 3
"""How often a claimed flow run's slot may lapse before another worker is to begin it."""


class PrefectLauncher:
    """Implements ports.Launcher, for who executes what he launches. Safe to use from many threads."""

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
        return _made_ready(self._create(run), run)

    def hand_over(self, run: Run) -> timedelta:
        """Nothing: it is executed where it is launched."""
        del run
        return timedelta(0)

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
        stopping = {"state": {"type": {"any_": sorted(STOPPING)}}}
        return frozenset(shown.id for shown in _found(flow_run_ids, stopping))

    def find_unattended(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        """Those of the flow runs that no worker will begin, or is at; one that is deleted is, too.

        Raises:
            PrefectUnavailableError: no server answers.
        """
        attended = (shown.id for shown in _found(flow_run_ids) if shown.is_attended)
        return frozenset(flow_run_ids).difference(attended)

    def _place(self, run: Run) -> dict[str, Any]:
        """Where a flow run of the run belongs; of its kind there is one for each cycle."""
        return {"idempotency_key": f"{run.id}:{run.cycle}"}

    def _first_state(self, run: Run) -> State[Any]:
        """What its flow run is made in."""
        del run
        return Pending()

    def _create(self, run: Run) -> Shown:
        place = self._place(run)
        known = self._flow_ids.get(run.template_id)
        try:
            if known is not None:
                with suppress(FactoryError):
                    return self._create_for(run, known, place)
                # Perhaps the server has a new database: ask for the flow again.
                self._flow_ids.pop(run.template_id, None)
            flow_id = str(ask("POST", "/flows/", {"name": run.template_id})["id"])
            made = self._create_for(run, flow_id, place)
        except HostRejectedError as exc:
            raise HostRejectedError(
                f"Prefect refuses the flow run of {run.id}: {exc}",
                hint="if its inputs are larger than 512 KiB, that is why: give less",
            ) from exc
        self._flow_ids[run.template_id] = flow_id
        return made

    def _create_for(self, run: Run, flow_id: str, place: dict[str, Any]) -> Shown:
        wanted = FlowRunCreate(
            flow_id=UUID(flow_id),
            flow_version=run.template_version,
            name=run.id,
            parameters=self._inputs_of(run),
            labels={**labels_of(run)},
            tags=tags_of(run),
            state=to_state_create(self._first_state(run)),
            **place,
        )
        body = wanted.model_dump(mode="json", exclude_unset=True)
        return Shown.of(ask("POST", "/flow_runs/", body))


class Deployments(Protocol):
    """Which deployment of Prefect's a run belongs to."""

    def deployment_of(self, run: Run) -> str:
        """Prefect's id of the one that its template has for its tenant; made where it has none."""
        ...

    def leads_to(self, deployment_id: str, run: Run) -> bool:
        """Whether a flow run of this deployment finds the run: it is there, and of its tenant."""
        ...

    def look_again(self) -> None:
        """No flow run could be made: what was seen to be in Prefect may have been deleted."""
        ...


class PoolLauncher(PrefectLauncher):
    """Likewise, for Prefect's workers: they begin what is handed over."""

    def __init__(
        self,
        inputs_of: Callable[[Run], Any],
        pool: str,
        patience: timedelta,
        deployments: Deployments,
    ) -> None:
        """Launch into a work pool.

        Args:
            inputs_of: gives a run's inputs.
            pool: its name; each priority has a queue there.
            patience: how long a worker may take to begin a flow run.
            deployments: says how a worker executes a run.
        """
        super().__init__(inputs_of)
        self._pool = pool
        self._patience = patience
        self._deployments = deployments

    def launch(self, run: Run) -> str:
        """The id of the run's flow run in the pool, that no worker begins yet: its old one, or new.

        Idempotent by run id, cycle and deployment. One that is deleted, or that a worker could not
        find its way from to the run, is made anew.

        Raises:
            PrefectUnavailableError: no server answers.
            PrefectFailedError: it answers, and fails at this one.
            CancelledError: somebody cancelled this one there: it is left as it is.
            HostRejectedError: it answers that it cannot take this one, and will again.
        """
        try:
            shown = self._find(run) or self._create(run)
        except PrefectUnavailableError:
            self._deployments.look_again()
            raise
        _refuse_stopping(shown)
        return shown.id

    def hand_over(self, run: Run) -> timedelta:
        """Have the run's flow run scheduled, so that the next worker begins it.

        Raises:
            PrefectUnavailableError: no server answers.
            PrefectFailedError: it answers, and fails at this one; or somebody deleted it just now.
            CancelledError: somebody cancelled it there: it is left as it is.
        """
        try:
            shown = read_flow_run(str(run.flow_run_id))
            _refuse_stopping(shown)
            if shown.type is not StateType.SCHEDULED and not self._is_left_to_worker(shown, run):
                force_flow_run(shown.id, _begin_again(run) if shown.begun else Scheduled())
        except GoneError as gone:
            raise PrefectFailedError(f"the flow run of {run.id} is gone") from gone
        return self._patience

    def _is_left_to_worker(self, shown: Shown, run: Run) -> bool:
        """Whether a worker claimed it not long ago: scheduled again, a second one would begin it."""
        if not shown.is_claimed or shown.since is None or run.admitted_at is None:
            return False
        return run.admitted_at - shown.since < _CLAIM_LASTS * self._patience

    def _find(self, run: Run) -> Shown | None:
        """The flow run that the run has, where workers can execute it; else it is of no use."""
        if run.flow_run_id is None:
            return None
        try:
            shown = read_flow_run(run.flow_run_id)
            if shown.deployment_id and self._deployments.leads_to(shown.deployment_id, run):
                return shown
            _refuse_stopping(shown)
            # Not Cancelled: until the new one is written down, that would be a word to be obeyed.
            force_flow_run(shown.id, replaced_state(run.id))
        except GoneError:
            return None
        return None

    def _first_state(self, run: Run) -> State[Any]:
        return queued_state(run.id)  # which is no worker's claim

    def _place(self, run: Run) -> dict[str, Any]:
        deployment_id = self._deployments.deployment_of(run)
        return {
            "idempotency_key": f"{run.id}:{run.cycle}:{deployment_id}",
            "deployment_id": UUID(deployment_id),
            "work_pool_name": self._pool,
            "work_queue_name": run.priority.value,
        }


def _found(flow_run_ids: Sequence[str], more: dict[str, Any] | None = None) -> Iterator[Shown]:
    """Those of the flow runs that there are, and that are so."""
    for start in range(0, len(flow_run_ids), _AT_ONCE):
        some = list(flow_run_ids[start : start + _AT_ONCE])
        wanted = {
            "flow_runs": {"id": {"any_": some}, **(more or {})},
            "sort": "ID_DESC",
            "limit": _AT_ONCE,
        }
        yield from map(Shown.of, ask("POST", "/flow_runs/filter", wanted))


def _made_ready(shown: Shown, run: Run) -> str:
    """Its id, in a state that it can be executed from."""
    _refuse_stopping(shown)
    # Running, left by a killed process, would do for Prefect; but nobody could tell by it that
    # this run has begun again.
    if shown.begun or shown.type is not StateType.PENDING:
        force_flow_run(shown.id, _begin_again(run))
    return shown.id


def _refuse_stopping(shown: Shown) -> None:
    if shown.type in STOPPING:
        raise CancelledError(CANCELLED_IN_PREFECT)  # made ready, nobody would know of it any more


def _begin_again(run: Run) -> State[Any]:
    return AwaitingRetry(message=f"{run.id} is taken up again")
