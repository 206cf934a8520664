"""One job of a run, done by a worker of another queue than those that walk the run.

The worker is let in by our own record of the flow run that it executes, and by nothing that is said
in Prefect. It claims the job as every walk does, with a lease and a fencing token.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from factory_runtime.domain.errors import ConflictError, PermanentError
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, JobKey, Launcher, RoutedJob, RunStore
from factory_runtime.services.end_run import BY_PREFECT, cancel_run
from factory_runtime.services.engine import Engine, Walk, walk_of
from factory_runtime.services.letters import Failure, bury
from factory_runtime.services.repair import each
from factory_runtime.services.send_job import hand_back, lose
from factory_runtime.services.steadily import steadily
from factory_runtime.services.take_back import let_go
from factory_runtime.services.wake_run import wake_run

_PAGE = 200


def begin_routed(engine: Engine, flow_run_id: str) -> Walk | None:
    """The way through a run to the one job that this flow run was made for.

    None where it has nothing to do: another flow run has the job by now, nobody wants it done, or
    it has failed with what is gone or damaged of the run: its plan, or what a job gave.
    """
    key = engine.store.find_routed_job(flow_run_id)
    if key is None:
        return None

    def take(again: bool) -> tuple[Run, tuple[Job, ...]] | None:
        del again  # nothing is claimed here
        with engine.store.begin(key.tenant_id) as tx:
            run, now = tx.lock_run(key.run_id), engine.clock.now()
            job = tx.get_job(key.run_id, key.step)
            waits = job.status is JobStatus.WAITING and job.routed_flow_run_id == flow_run_id
            if not waits or run.ended or run.cancel_requested_at is not None:
                return None
            if run.status is RunStatus.PAUSED or run.pause_requested_at is not None:
                hand_back(tx, job, now)
                wake_run(tx, run, now, now)
                return None
            return run, tx.list_jobs(run.id)

    taken = steadily(take, engine.lease)
    if taken is None:
        return None
    try:
        walk = walk_of(engine, new_id(engine.worker), *taken)
    except PermanentError as error:  # another worker would find the same
        _fail(engine, key, flow_run_id, error)
        return None
    walk.routed = key.step
    walk.jobs[key.step] = replace(walk.jobs[key.step], phrase=None)  # it waits no more once claimed
    return walk


def _fail(engine: Engine, key: JobKey, flow_run_id: str, error: PermanentError) -> None:
    """End a job that this flow run was made for, and that cannot be begun; its run is told."""

    def write(again: bool) -> None:
        del again  # one that has ended is this flow run's no more
        with engine.store.begin(key.tenant_id) as tx:
            run, now = tx.lock_run(key.run_id), engine.clock.now()
            job = tx.get_job(key.run_id, key.step)
            waits = job.status is JobStatus.WAITING and job.routed_flow_run_id == flow_run_id
            if run.ended or not waits:
                return
            why = error.explain()
            failed = job.move_to(JobStatus.FAILED, now, error=why, not_before=None, phrase=None)
            tx.save_job(job, failed, detail={"reason": why})
            bury(tx, run, failed, Failure(error.code, why), now)
            wake_run(tx, run, now, now)

    steadily(write, engine.lease)


def leave_routed(engine: Engine, walk: Walk, flow_run_id: str, due: datetime | None = None) -> Job:
    """Give a job that has not ended back to the walk of its run; the job as it then stands.

    Args:
        engine: the ports.
        walk: to the job.
        flow_run_id: that was made for it.
        due: when it may be sent again, where it was not claimed.
    """

    def write(again: bool) -> Job:
        del again  # what was given back is not this walk's any more
        with engine.store.begin(walk.run.tenant_id) as tx:
            run, now = tx.lock_run(walk.run.id), engine.clock.now()
            job = tx.get_job(run.id, str(walk.routed))
            if job.routed_flow_run_id != flow_run_id:
                return job
            if job.status is JobStatus.WAITING:
                back = hand_back(tx, job, now, due)
            elif job.lease_owner == walk.holder:
                back = let_go(tx, job, now)
            else:
                return job
            wake_run(tx, run, back.not_before or now, now)
            return back

    return steadily(write, engine.lease)


def sweep_routed(store: RunStore, clock: Clock, launcher: Launcher) -> int:
    """See what has become of the flow runs of jobs that were sent elsewhere.

    A run is asked to stop where somebody cancelled one of them in Prefect; how many were. Where one
    is over and its job was not claimed, another is made.

    Raises:
        PrefectUnavailableError: no server answers.
    """
    stopped, after = 0, None
    while page := store.routed_jobs(after=after, limit=_PAGE):
        known = {job.flow_run_id: job for job in page}
        cancelled = [known[one] for one in launcher.find_cancelled(tuple(known))]
        stopped += each(cancelled, lambda job: _cancel(store, clock, job.key))
        unclaimed = [one for one, job in known.items() if not job.claimed]
        lost = [known[one] for one in launcher.find_unattended(unclaimed)]
        each(lost, lambda job: _lose(store, clock, job))
        after = page[-1].key
    return stopped


def _cancel(store: RunStore, clock: Clock, key: JobKey) -> bool:
    with store.begin(key.tenant_id, read_only=True) as tx:
        run = tx.get_run(key.run_id)
    if run.ended or run.cancel_requested_at is not None:
        return False
    with suppress(ConflictError):  # it has ended meanwhile
        cancel_run(store, clock, run.tenant_id, run.id, BY_PREFECT)
        return True
    return False


def _lose(store: RunStore, clock: Clock, seen: RoutedJob) -> bool:
    key = seen.key
    with store.begin(key.tenant_id) as tx:
        run = tx.lock_run(key.run_id)
        job = tx.get_job(key.run_id, key.step)
        waits = job.status is JobStatus.WAITING and job.routed_flow_run_id == seen.flow_run_id
        if not waits or run.ended:
            return False
        lose(tx, run, job, clock.now())
        return True
