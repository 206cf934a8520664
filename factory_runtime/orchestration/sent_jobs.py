"""Have a flow run made, in the queue of its route, for a job that was sent there."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Pending, Scheduled, to_state_create

from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.route import parse_route
from factory_runtime.domain.run import Run
from factory_runtime.orchestration.flow_runs import Shown, force_flow_run, read_flow_run
from factory_runtime.orchestration.labels import labels_of, tags_of
from factory_runtime.orchestration.prefect_api import GoneError, ask
from factory_runtime.orchestration.routes import find_route
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.drain_outbox import drain_outbox
from factory_runtime.services.topics import SEND_JOB
from factory_runtime.telemetry import worker_name


class SentJobs:
    """Handles the outbox's messages of jobs that were sent to another queue."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def send(self, message: OutboxMessage) -> None:
        """Make the flow run, write down which it is, and only then let workers begin it.

        Idempotent; where the job does not wait any more as it was sent, nothing is done.

        Raises:
            RouteNotFoundError: Prefect does not have what the route names; the job says so.
            PrefectUnavailableError: no server answers.
        """
        asked = message.payload
        with self._store.begin(message.tenant_id, read_only=True) as tx:
            run = tx.get_run(asked["run_id"])
            job = tx.get_job(run.id, asked["step"])
        if job.version != asked["version"] or job.routed_to is None or run.ended:
            return
        try:
            shown = self._ready(run, job, asked["instead_of"])
        except FactoryError as error:
            why = "; ".join(error.explain().splitlines())
            self._note(job, job.routed_flow_run_id, f"cannot be sent to {job.routed_to}: {why}")
            raise
        waits = f"waits for a worker of {job.routed_to}"
        if not self._note(job, shown.id, waits):
            self._cancel_if_nobodys(job, shown.id)
            return
        if shown.type is StateType.PENDING and not shown.begun:
            # Workers look for what is scheduled. Killed before this, it is done by the next try.
            force_flow_run(shown.id, Scheduled())

    def _ready(self, run: Run, job: Job, instead_of: str | None) -> Shown:
        """The flow run that is to claim the job."""
        known = _find(job.routed_flow_run_id) or _in_queue(_find(instead_of))
        return known or _made(run, job)

    def _note(self, job: Job, flow_run_id: str | None, phrase: str) -> bool:
        with self._store.begin(job.tenant_id) as tx:
            tx.lock_run(job.run_id)
            current = tx.get_job(job.run_id, job.step)
            if current.status is not JobStatus.WAITING:
                return False
            return tx.note_route(job, flow_run_id, phrase)

    def _cancel_if_nobodys(self, job: Job, flow_run_id: str) -> None:
        """The job went on before its flow run was noted: no worker ever looks for that one."""
        with self._store.begin(job.tenant_id, read_only=True) as tx:
            current = tx.get_job(job.run_id, job.step)
        if current.routed_flow_run_id == flow_run_id:
            return
        # Asked for only now: another sender of the same message may have let a worker begin it.
        shown = _find(flow_run_id)
        if shown is not None and shown.type is StateType.PENDING and not shown.begun:
            force_flow_run(flow_run_id, Cancelled(message=f"{job.id} does not wait for it"))


def send_now(store: RunStore, clock: Clock) -> None:
    """Make the flow runs of jobs that were just sent; what cannot be made now, a drain makes later.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    drain_outbox(store, clock, {SEND_JOB: SentJobs(store).send}, worker_name())


def _find(flow_run_id: str | None) -> Shown | None:
    if flow_run_id is None:
        return None
    try:
        return read_flow_run(flow_run_id)
    except GoneError:
        return None


def _in_queue(shown: Shown | None) -> Shown | None:
    """An earlier flow run that nobody has begun: a second one would lie beside it."""
    return shown if shown is not None and shown.type is StateType.SCHEDULED else None


def _made(run: Run, job: Job) -> Shown:
    deployment_id = find_route(parse_route(str(job.routed_to)))
    wanted: dict[str, Any] = {
        "name": f"{run.id} {job.step}",
        "parameters": {"job_id": job.id},
        "labels": labels_of(run),
        "tags": tags_of(run),
        "idempotency_key": f"{run.id}:{job.step}:{run.cycle}:{job.version}",
        "state": to_state_create(Pending()).model_dump(mode="json", exclude_unset=True),
    }
    path = "/deployments/{id}/create_flow_run"
    return Shown.of(ask("POST", path, wanted, id=deployment_id))
