"""Repair what killed processes left: every open run has a living worker, waits its turn, or ends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from factory_runtime.domain.errors import (
    ConflictError,
    PrefectFailedError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import Clock, JobKey, Launcher, RunKey, RunStore, SeenRun
from factory_runtime.services.dispatch import give_back
from factory_runtime.services.end_run import BY_PREFECT, cancel_run, end_run
from factory_runtime.services.locks import POOL, dispatcher_of, drop_lock, find_walker, walk_lock
from factory_runtime.services.messages import leave_status
from factory_runtime.services.old_deliveries import drop_old_deliveries
from factory_runtime.services.old_packages import drop_old_packages
from factory_runtime.services.repair import each
from factory_runtime.services.routed_job import sweep_routed
from factory_runtime.services.take_back import take_back, without_slot
from factory_runtime.services.wake_run import wake_run

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        cancelled: runs past their deadline, or asked to stop, that nobody was there to cancel.
        left: runs whose worker is gone: they wait for a slot again.
        jobs: jobs taken back from workers whose lease has run out.
    """

    cancelled: int = 0
    left: int = 0
    jobs: int = 0


def sweep(store: RunStore, clock: Clock) -> Swept:
    """Look once over all open runs. Any number of sweeps may do so at once, at any time.

    A run that waits, and a job that waits, hold no lease: they are not looked at.

    Raises:
        StoreUnavailableError: the store does not answer; what was repaired stays so.
    """
    cancelled = each(store.overdue_runs(clock.now()), lambda key: _cancel(store, clock, key))
    left = each(store.running_runs(), lambda key: _leave(store, clock, key))
    jobs = each(store.expired_jobs(clock.now()), lambda key: _take_back(store, clock, key))
    drop_old_deliveries(store, clock)
    drop_old_packages(store, clock)
    return Swept(cancelled, left, jobs)


def sweep_prefect(store: RunStore, clock: Clock, launcher: Launcher) -> int:
    """Ask runs to stop whose flow runs, or those of their jobs, somebody cancelled in Prefect.

    How many were asked. What was sent to another queue and got lost there is sent again.

    Raises:
        PrefectUnavailableError: no server answers.
    """
    stopped, after = 0, None
    while page := store.open_flow_runs(after=after, limit=_PAGE):
        of_flow_run = {run.flow_run_id: run.key for run in page}
        found = launcher.find_cancelled(tuple(of_flow_run))
        stopped += each([of_flow_run[one] for one in found], lambda key: _stop(store, clock, key))
        after = page[-1].key
    return stopped + sweep_routed(store, clock, launcher)


def sweep_pool(store: RunStore, clock: Clock, launcher: Launcher) -> int:
    """Take the slots back of runs that were handed over and that no worker will begin; how many.

    Somebody deleted the flow run or ended it, or it crashed before it came to its run. It is handed
    over once more, after a growing while.

    Raises:
        PrefectUnavailableError: no server answers.
    """
    held = store.held_runs(walk_lock(""), dispatcher_of(POOL), clock.now())
    waiting = {run.flow_run_id: run for run in held}
    # Asked after ours was read: one that has begun, and ended, meanwhile is nobody's to give back.
    found = launcher.find_unattended(tuple(waiting))
    return each([waiting[one] for one in found], lambda run: _give_back(store, clock, run))


def _stop(store: RunStore, clock: Clock, key: RunKey) -> bool:
    with suppress(ConflictError):  # it has ended meanwhile
        cancel_run(store, clock, key.tenant_id, key.run_id, BY_PREFECT)
        return True
    return False


def _give_back(store: RunStore, clock: Clock, seen: SeenRun) -> bool:
    with store.begin(seen.key.tenant_id, read_only=True) as tx:
        run = tx.get_run(seen.key.run_id)
    if run.version != seen.version:
        return False  # it went on meanwhile
    failure = PrefectFailedError(f"no worker of Prefect's will begin flow run {seen.flow_run_id}")
    give_back(store, clock, run, POOL, failure)
    return True


def _cancel(store: RunStore, clock: Clock, key: RunKey) -> bool:
    """Cancel a run that should have stopped, where no process is there to do it."""
    now = clock.now()
    with store.begin(key.tenant_id, read_only=True) as tx:
        run = tx.get_run(key.run_id)
        if run.ended or find_walker(tx, run.id, now) not in (None, dispatcher_of(POOL)):
            return False
    unwanted = run.cancel_requested_at is not None
    if not (unwanted or run.is_late(now)):
        return False
    reason = run.error or "cancelled" if unwanted else "cancelled by its deadline"
    with suppress(ConflictError):
        end_run(store, clock, run.tenant_id, run.id, RunStatus.CANCELLED, reason)
        return True
    return False


def _leave(store: RunStore, clock: Clock, key: RunKey) -> bool:
    """Take the slot back from a run whose process is gone, and the jobs that it was at."""
    now = clock.now()
    with store.begin(key.tenant_id, read_only=True) as tx:
        if find_walker(tx, key.run_id, now) is not None:
            return False
    with store.begin(key.tenant_id, durable=False) as tx:  # or else the next sweep does it
        run = tx.lock_run(key.run_id)
        if run.admitted_at is None or find_walker(tx, run.id, now) is not None:
            return False
        drop_lock(tx, walk_lock(run.id), now)  # a worker that was only paused has lost it for good
        for job in tx.list_jobs(run.id):
            take_back(tx, job, now)
        left = without_slot(run, now)
        tx.save_run(run, left)
        if left.status is not run.status:
            leave_status(tx, left, now)
    return True


def _take_back(store: RunStore, clock: Clock, key: JobKey) -> bool:
    """Take one job back whose lease has run out, though its run has a worker or has ended."""
    now = clock.now()
    with store.begin(key.tenant_id, durable=False) as tx:
        run = tx.lock_run(key.run_id)
        job = tx.get_job(key.run_id, key.step)
        expired = job.lease_expires_at is not None and job.lease_expires_at <= now
        if job.status is not JobStatus.RUNNING or not expired:
            return False
        if find_walker(tx, key.run_id, now) == job.lease_owner:
            return False  # a heartbeat that is late, of one who lives
        take_back(tx, job, now)
        if job.routed_to is not None:  # its run's walk may wait for it without a process
            wake_run(tx, tx.get_run(run.id), now, now)
    return True
