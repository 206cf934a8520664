"""What executing a run needs, and one executor's way through it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    ConflictError,
    CorruptArtifactError,
    LeaseLostError,
)
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.secrets import Secrets
from factory_runtime.ports import (
    ArtifactStorage,
    Clock,
    CredentialBook,
    GitHost,
    JobType,
    NoCredentials,
    RunStore,
    RunTransaction,
)
from factory_runtime.services.ask_memory import Recall
from factory_runtime.services.credentials import CREDENTIALS
from factory_runtime.services.locks import is_dispatcher, take_lock, walk_lock
from factory_runtime.services.made_artifacts import ExpiryOf, no_expiry
from factory_runtime.services.run_host import choice_for
from factory_runtime.services.run_page import RunPages
from factory_runtime.services.signals import RUN_STARTED, signal_run
from factory_runtime.services.steadily import steadily
from factory_runtime.services.take_back import take_back
from factory_runtime.services.turns import LimitsOf, no_limits

LEASE = timedelta(seconds=60)


@dataclass(frozen=True)
class Engine:
    """The ports that executing asks for, and who executes.

    Attributes:
        worker: host and process, like ``build-7:4211``.
        environment: which profile and interpreter.
        limits_of: each tenant's.
        credentials: what jobs show to services outside; asked at run time alone.
        topic_caps: jobs of a type at once, over all tenants, by its name.
        routes: the ``pool/queue`` whose workers do the jobs of a type, by its name; the others are
            done by whoever walks the run.
        expiry_of: how long what jobs make is kept, where they do not say.
        recall: searches a tenant's memory for its jobs; None where there is none.
        pages: where people look at runs.
    """

    store: RunStore
    storage: ArtifactStorage
    host: GitHost
    job_types: Mapping[str, JobType]
    clock: Clock
    worker: str
    environment: str
    lease: timedelta = LEASE
    limits_of: LimitsOf = no_limits
    credentials: CredentialBook = field(default_factory=NoCredentials)
    topic_caps: Mapping[str, int] = field(default_factory=dict[str, int])
    routes: Mapping[str, str] = field(default_factory=dict[str, str])
    expiry_of: ExpiryOf = no_expiry
    recall: Recall | None = None
    pages: RunPages = field(default_factory=RunPages)


@dataclass
class Walk:
    """One executor's way through a run: what it has read and written of it so far.

    The rows are the record; this keeps what this process knows of them, so that a job costs two
    commits and no queries. A row that somebody else moved makes the next write fail.

    Attributes:
        holder: names this walk alone, also among those of its process: it owns the run's lock and
            the leases of the jobs under way.
        suspending: set to have jobs stop at their next safe point.
        routed: the one job that this is all about, where it was sent here by the run's own walk: it
            does not hold the run's lock, and leaves closing the run to the other.
        lock: held while a job is closed, so that exactly one of two last jobs closes the run.
        secrets: that the run came to know, and nothing it says or leaves from then on may hold.
        lent: the credentials whose secrets are among them: job type, and what its step names.
        claims: attempts of each job that were begun by this walk.
    """

    run: Run
    plan: Plan
    jobs: dict[str, Job]
    holder: str
    endings: dict[str, Ending] = field(default_factory=dict[str, Ending])
    outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    lock: threading.Lock = field(default_factory=threading.Lock)
    suspending: threading.Event = field(default_factory=threading.Event)
    routed: str | None = None
    secrets: Secrets = field(default_factory=Secrets)
    lent: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    claims: Counter[str] = field(default_factory=Counter[str])

    @cached_property
    def borrowers(self) -> tuple[PlannedJob, ...]:
        """The jobs that may ask for credentials."""
        return tuple(job for job in self.plan.jobs if CREDENTIALS in job.with_)

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.plan.inputs

    def run_facts(self) -> dict[str, Any]:
        """What expressions see as ``run``."""
        return run_facts(self.run)


def run_facts(run: Run) -> dict[str, Any]:
    """What expressions see as ``run``."""
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
    """Take up a run that has a slot: it is Running now. One that has ended is given as it is.

    One that is Running already was begun by a process that was killed: it goes on from its records.
    Whoever walks a run holds its lock, and has to keep it (``keep_walking``).

    Raises:
        ConflictError: another flow run or another living process executes it, or it has no slot.
        CorruptArtifactError: its plan, or what a job gave, is gone or damaged.
        PolicyUnavailableError: nobody can tell now which git host it is to keep.
    """
    holder = new_id(engine.worker)
    git_host = choice_for(engine.host, tenant_id)

    def take(again: bool) -> tuple[Run, tuple[Job, ...]] | Run:
        del again  # the holder is our own: taking it twice is taking it once
        with engine.store.begin(tenant_id) as tx:
            run = tx.lock_run(run_id)
            if run.ended:
                return run
            _refuse(run, flow_run_id)
            now = engine.clock.now()
            if not _take_over(tx, run_id, holder, now, now + engine.lease):
                other = tx.find_lock_holder(walk_lock(run_id), now)
                raise ConflictError(f"run {run_id} is executed by {other}")
            if run.status is not RunStatus.RUNNING:
                kept = run.git_host or git_host
                running = run.move_to(
                    RunStatus.RUNNING, now, flow_run_id=flow_run_id, wake_at=None, git_host=kept
                )
                tx.save_run(run, running, detail={"worker": engine.worker})
                if run.status is RunStatus.QUEUED:  # one that waited just goes on
                    signal_run(tx, running, RUN_STARTED, now)
                run = running
            jobs = tuple(take_back(tx, job, now) for job in tx.list_jobs(run_id))
            return run, jobs

    taken = steadily(take, engine.lease)
    return taken if isinstance(taken, Run) else walk_of(engine, holder, *taken)


def keep_walking(engine: Engine, walk: Walk) -> bool:
    """The heartbeat: renew the lock on the run and the leases of the jobs under way.

    False where the run was lost to another process.
    """
    run = walk.run
    expires_at = engine.clock.now() + engine.lease
    with engine.store.begin(run.tenant_id) as tx:
        # The run's row comes before its lock, as everywhere: no two can then wait for each other.
        renewed = tx.renew_leases(run.id, walk.holder, expires_at)
        if walk.routed is not None:
            return renewed > 0 or walk.jobs[walk.routed].lease_owner != walk.holder
        return tx.renew_lock(walk_lock(run.id), walk.holder, expires_at)


def hold_walk(engine: Engine, tx: RunTransaction, walk: Walk) -> None:
    """Make sure that the run is this walk's until the transaction ends.

    What an attempt writes is fenced by its token; this is for what is written before there is one,
    and for the run. Call it with the run's row held. Where one job was sent here, the version of
    its row does as much.

    Raises:
        LeaseLostError: another process has taken the run up, or may do so at once.
    """
    if walk.routed is not None:
        return
    expires_at = engine.clock.now() + engine.lease
    if not tx.renew_lock(walk_lock(walk.run.id), walk.holder, expires_at):
        raise LeaseLostError(
            f"run {walk.run.id} is not executed by {walk.holder} any more",
            hint="another process goes on with it",
        )


def stop_walking(engine: Engine, walk: Walk) -> None:
    """Give the run's lock back; where the store stays away for too long, the lock runs out."""

    def write(again: bool) -> None:
        del again
        with engine.store.begin(walk.run.tenant_id) as tx:
            tx.unlock(walk_lock(walk.run.id), walk.holder)

    steadily(write, engine.lease)


def _refuse(run: Run, flow_run_id: str) -> None:
    if run.flow_run_id not in (None, flow_run_id):
        raise ConflictError(
            f"run {run.id} is executed by flow run {run.flow_run_id}",
            hint="let that one finish, or cancel the run",
        )
    if run.admitted_at is None:
        raise ConflictError(f"run {run.id} is {run.status} and waits to be admitted")


def _take_over(
    tx: RunTransaction, run_id: str, holder: str, now: datetime, expires_at: datetime
) -> bool:
    """Take the walk's lock; that of the dispatcher who is about to have it started gives way."""
    lock = walk_lock(run_id)
    other = tx.find_lock_holder(lock, now)
    if other is not None and is_dispatcher(other):
        tx.unlock(lock, other)
    return take_lock(tx, lock, holder, now, expires_at)


def walk_of(engine: Engine, holder: str, run: Run, jobs: tuple[Job, ...]) -> Walk:
    """The way through a run from where it stands.

    Raises:
        CorruptArtifactError: its plan, or what a job gave, is gone or damaged.
    """
    # Imported here: the compiler is needed by those who execute, not by those who cancel.
    from factory_runtime.services.plans import read_plan

    plan = read_plan(engine.storage, run)
    # Jobs that a changed plan has no more are history: nothing waits for them or counts them.
    planned = {job.step: job for job in jobs if job.step in plan.by_name}
    walk = Walk(run, plan, planned, holder)
    for job in planned.values():
        learn(engine, walk, job)
    return walk


def learn(engine: Engine, walk: Walk, job: Job) -> None:
    """Take a job as the store has it: how it ended, and what it gave.

    Where this walk has come to know a later version of it meanwhile, that one stays.

    Raises:
        CorruptArtifactError: what it gave is gone or damaged.
    """
    from factory_runtime.services.bodies import from_body

    outputs: Mapping[str, Any] | None = None
    if job.status is JobStatus.SUCCEEDED:
        try:
            outputs = from_body(engine.storage, job.tenant_id, job.outputs) or {}
        except ArtifactNotFoundError as error:
            # Not found is what a caller asked for in vain; this was put there when the job ended.
            raise CorruptArtifactError(f"a body of run {job.run_id} is gone: {error}") from error
    with walk.lock:
        if job.version < walk.jobs[job.step].version:
            return
        walk.jobs[job.step] = job
        if outputs is not None:
            walk.outputs[job.step] = outputs
        if job.ended:
            walk.endings[job.step] = Ending(job.status, job.skip_reason)
