"""What executing a run needs, and one executor's way through it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    ConflictError,
    CorruptArtifactError,
    CorruptStoreError,
)
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import ArtifactStorage, Clock, GitHost, JobType, RunStore, RunTransaction
from factory_runtime.services.locks import take_lock
from factory_runtime.telemetry import worker_is_gone

LEASE = timedelta(seconds=60)


@dataclass(frozen=True)
class Engine:
    """The ports that executing asks for, and who executes.

    Attributes:
        worker: host and process, like ``build-7:4211``.
        environment: which profile and interpreter.
    """

    store: RunStore
    storage: ArtifactStorage
    host: GitHost
    job_types: Mapping[str, JobType]
    clock: Clock
    worker: str
    environment: str
    lease: timedelta = LEASE


@dataclass
class Walk:
    """One executor's way through a run: what it has read and written of it so far.

    The rows are the record; this keeps what this process knows of them, so that a job costs two
    commits and no queries. A row that somebody else moved makes the next write fail.

    Attributes:
        lock: held while a job is closed, so that exactly one of two last jobs closes the run.
    """

    run: Run
    plan: Plan
    jobs: dict[str, Job]
    endings: dict[str, Ending] = field(default_factory=dict[str, Ending])
    outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.plan.inputs

    def run_facts(self) -> dict[str, Any]:
        """What expressions see as ``run``."""
        run = self.run
        return {
            "id": run.id,
            "tenant": run.tenant_id,
            "project": run.project_id,
            "module": run.module_id,
            "template": run.template_id,
            "version": run.template_version,
            "requested_by": run.requested_by,
        }


def begin_walk(engine: Engine, tenant_id: str, run_id: str, flow_run_id: str) -> Walk | Run:
    """Take a run up: Queued becomes Running. A run that has ended is given back as it is.

    One that is Running already was begun by a process that was killed: it goes on from its records.
    Whoever walks a run holds its lock, and has to keep it (``keep_walking``).

    Raises:
        ConflictError: another flow run or another living process executes it.
        IllegalTransitionError: it waits to be admitted.
        CorruptArtifactError: its plan, or what a job gave, is gone or damaged.
    """
    with engine.store.begin(tenant_id) as tx:
        run = tx.lock_run(run_id)
        if run.ended:
            return run
        if run.flow_run_id not in (None, flow_run_id):
            raise ConflictError(
                f"run {run_id} is executed by flow run {run.flow_run_id}",
                hint="let that one finish, or cancel the run",
            )
        now = engine.clock.now()
        lock = _lock_name(run_id)
        if not take_lock(tx, lock, engine.worker, now, now + engine.lease):
            holder = tx.find_lock_holder(lock, now)
            raise ConflictError(f"run {run_id} is executed by {holder}")
        if run.status is not RunStatus.RUNNING:
            running = run.move_to(RunStatus.RUNNING, now, flow_run_id=flow_run_id)
            tx.save_run(run, running, detail={"worker": engine.worker})
            run = running
        jobs = tuple(_taken_back(engine, tx, job) for job in tx.list_jobs(run_id))
    return _walk_of(engine, run, jobs)


def keep_walking(engine: Engine, run: Run) -> bool:
    """Renew the lock on a run; False where it was lost to another process."""
    now = engine.clock.now()
    with engine.store.begin(run.tenant_id) as tx:
        return tx.try_lock(_lock_name(run.id), engine.worker, now, now + engine.lease)


def stop_walking(engine: Engine, run: Run) -> None:
    """Give the run's lock back."""
    with engine.store.begin(run.tenant_id) as tx:
        tx.unlock(_lock_name(run.id), engine.worker)


def is_walked(engine: Engine, tenant_id: str, run_id: str) -> bool:
    """Whether a living process executes the run."""
    with engine.store.begin(tenant_id, read_only=True) as tx:
        holder = tx.find_lock_holder(_lock_name(run_id), engine.clock.now())
    return holder is not None and not worker_is_gone(holder)


def _lock_name(run_id: str) -> str:
    return f"run:{run_id}"


def _taken_back(engine: Engine, tx: RunTransaction, job: Job) -> Job:
    """A job that another process was killed in goes back to Pending; its attempt is counted.

    It was the last one where the job has no more of them: a job that kills its worker ends, too.
    That process may only be paused: then the version and the fencing token stop its writes.
    """
    if job.status is not JobStatus.RUNNING:
        return job
    now = engine.clock.now()
    reason, released = "its worker is gone", {"lease_owner": None, "lease_expires_at": None}
    if job.attempt < job.max_attempts:
        back = job.move_to(JobStatus.PENDING, now, **released)
    else:
        error = f"{reason}, in attempt {job.attempt} of {job.max_attempts}"
        back = job.move_to(JobStatus.FAILED, now, error=error, **released)
    tx.save_job(job, back, detail={"reason": reason, "attempt": job.attempt})
    for attempt in tx.list_attempts(job.run_id, job.step):
        if attempt.outcome is None:
            tx.save_attempt(replace(attempt, outcome=Outcome.LOST, completed_at=now))
    return back


def _walk_of(engine: Engine, run: Run, jobs: tuple[Job, ...]) -> Walk:
    # Imported here: the compiler is needed by those who execute, not by those who cancel.
    from factory_runtime.compiler.plan import plan_from_json
    from factory_runtime.services.bodies import from_body

    if run.plan is None or run.plan.reference is None:
        raise CorruptStoreError(f"run {run.id} has no plan")
    try:
        text = engine.storage.read(run.tenant_id, run.plan.reference.digest).decode()
        walk = Walk(run=run, plan=plan_from_json(text), jobs={job.step: job for job in jobs})
        for job in jobs:
            if job.ended:
                walk.endings[job.step] = Ending(job.status, job.skip_reason)
            if job.status is JobStatus.SUCCEEDED:
                walk.outputs[job.step] = from_body(engine.storage, run.tenant_id, job.outputs) or {}
    except ArtifactNotFoundError as error:
        # Not found is what a caller asked for in vain; this was put there when it was accepted.
        raise CorruptArtifactError(f"a body of run {run.id} is gone: {error}") from error
    return walk
