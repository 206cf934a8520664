"""Ways a run ends: its last job closes it, or somebody stops it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.compiler.expressions import evaluate
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import FactoryError, IllegalTransitionError
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.progress import compensates, run_ending
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.approvals import stop_asking, withdraw
from factory_runtime.services.audit import SYSTEM, leave_audit
from factory_runtime.services.bodies import to_body
from factory_runtime.services.engine import Engine, Walk, hold_walk
from factory_runtime.services.letters import RUN_STOPPED, Failure, bury, settle_letters
from factory_runtime.services.messages import leave_endings
from factory_runtime.services.scope import run_scope
from factory_runtime.services.send_job import call_off
from factory_runtime.services.steadily import steadily
from factory_runtime.services.undo_run import refuse_undoing, request_undo
from factory_runtime.services.wake_run import wake_run

BY_PREFECT = "somebody in Prefect"

_PATIENCE = timedelta(seconds=5)
"""How long somebody who ends a run from outside waits for a store that is away or too busy."""


def run_to_write(
    walk: Walk, tx: RunTransaction, ended: Job, external_ids: Mapping[str, str]
) -> Run | None:
    """The run, locked, where this job's end changes it too; before any job is written.

    Whoever writes several rows of a run takes the run first: no two can then wait for each other.
    """
    is_routed = walk.routed is not None
    if is_routed or external_ids or is_last(walk, ended) or _has_it_undone(walk, ended):
        return tx.lock_run(walk.run.id)  # a cancel may have changed it since it was read
    return None


def _has_it_undone(walk: Walk, ended: Job) -> bool:
    failed = ended.status is JobStatus.FAILED
    return failed and walk.plan.job(ended.step).on_failure.action == "compensate"


def close_run_if_last(
    engine: Engine,
    walk: Walk,
    tx: RunTransaction,
    run: Run,
    external_ids: Mapping[str, str],
) -> Run:
    """Close the run in the transaction that ends its last job; the run as it then stands.

    The walk is given as it will be once that is committed.

    One that is to be undone asks nobody any more, and what was only sent is not begun: its undo
    begins when its jobs have ended. Where the job was sent elsewhere, the run's own walk is told,
    and closes it.
    """
    now = engine.clock.now()
    if external_ids:
        changed = run.changed(now, **external_ids)
        tx.save_run(run, changed)
        run = changed
    if walk.routed is None and len(walk.endings) == len(walk.plan.jobs):
        return _close_run(engine, walk, tx, run)
    if compensates(walk.plan, walk.endings):
        run = call_off(tx, stop_asking(tx, run, now), now)
    return run if walk.routed is None else wake_run(tx, run, now, now)


def close_run_if_done(engine: Engine, walk: Walk) -> Run:
    """Close a run whose jobs have all ended: one without jobs, or one that was taken up late.

    Raises:
        LeaseLostError: another process has the run by now.
    """

    def write(again: bool) -> Run:
        del again  # an ended run is given as it is
        with engine.store.begin(walk.run.tenant_id) as tx:
            run = tx.lock_run(walk.run.id)
            if run.ended:
                return run
            hold_walk(engine, tx, walk)
            return _close_run(engine, walk, tx, run)

    with walk.lock:
        if not walk.run.ended and len(walk.endings) == len(walk.plan.jobs):
            walk.run = steadily(write, engine.lease)
        return walk.run


def _close_run(engine: Engine, walk: Walk, tx: RunTransaction, run: Run) -> Run:
    now, endings = engine.clock.now(), walk.endings
    status = run_ending(walk.plan, endings)
    changes: dict[str, Any] = {}
    if status is RunStatus.SUCCEEDED:
        changes = _outputs(engine, walk)
        status = changes.pop("status", status)
    elif status is RunStatus.FAILED:
        failed = sorted(name for name, e in endings.items() if e.status is JobStatus.FAILED)
        changes = {"error": f"failed: {', '.join(failed)}"}
        if compensates(walk.plan, endings):
            changes["undo_requested_by"] = run.undo_requested_by or SYSTEM
    closed = run.move_to(status, now, **changes, **withdraw(tx, run, now))
    tx.save_run(run, closed)
    if run.cycle > 0 or any(ending.status is JobStatus.FAILED for ending in endings.values()):
        settle_letters(tx, closed, now)
    leave_endings(tx, closed, now)
    return closed


def end_run(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    run_id: str,
    status: RunStatus,
    reason: str,
    fence: Callable[[RunTransaction], None] = lambda _tx: None,
) -> Run:
    """Stop a run from outside: every open job ends with it. Repeating it is a no-op.

    Args:
        store: the record.
        clock: for the times.
        tenant_id: whose run.
        run_id: which.
        status: ``CANCELLED`` or ``FAILED``.
        reason: one message for people.
        fence: raises where it is no longer the caller's to end, like ``hold_walk``.

    Raises:
        RunNotFoundError: no such run.
        IllegalTransitionError: it has ended in another way.
    """

    def write(again: bool) -> Run:
        del again  # one that has ended so is given as it is
        return _end_run(store, clock, tenant_id, run_id, status, reason, fence)

    return steadily(write, _PATIENCE)


def _end_run(
    store: RunStore,
    clock: Clock,
    tenant_id: str,
    run_id: str,
    status: RunStatus,
    reason: str,
    fence: Callable[[RunTransaction], None],
) -> Run:
    with store.begin(tenant_id) as tx:
        run = tx.lock_run(run_id)
        if run.status is status:
            return run
        fence(tx)
        now = clock.now()
        ended = run.move_to(status, now, error=reason, **withdraw(tx, run, now))
        jobs_failed = list[Job]()
        for job in tx.list_jobs(run_id):
            if not job.ended:
                stopped = _stopped(job, status, now, reason)
                tx.save_job(job, stopped, detail={"reason": reason})
                if stopped.status is JobStatus.FAILED:
                    jobs_failed.append(stopped)
        _close_attempts(tx, run_id, status, now, reason)
        tx.save_run(run, ended, detail={"reason": reason})
        jobs_failed.sort(key=lambda job: job.type)  # kinds are always met in one order
        for job in jobs_failed:
            bury(tx, ended, job, Failure(RUN_STOPPED, reason), now)
        settle_letters(tx, ended, now)
        leave_endings(tx, ended, now)
        return ended


def cancel_run(
    store: RunStore, clock: Clock, tenant_id: str, run_id: str, by: str, *, undo: bool = False
) -> Run:
    """Ask a run to stop. One that nobody executes is Cancelled at once.

    The executor obeys; where it is dead, the sweep does.

    Args:
        store: the record.
        clock: for the times.
        tenant_id: whose run.
        run_id: which.
        by: who asks.
        undo: whether what it did is taken back then, by a run of its own. It may be asked for
            after the rest.

    Raises:
        RunNotFoundError: no such run.
        IllegalTransitionError: it has ended already.
        ConflictError: it undoes another run, and is to be undone.
    """
    with store.begin(tenant_id) as tx:
        run = tx.lock_run(run_id)
        now = clock.now()
        if run.status is RunStatus.CANCELLED:
            if undo:
                request_undo(tx, run, by, now)
            return run
        if run.ended:
            raise IllegalTransitionError(f"run {run_id}", run.status, RunStatus.CANCELLED)
        asked = _asked_to_stop(tx, run, by, now, undo=undo)
        if run.status is RunStatus.RUNNING and run.admitted_at is not None:
            return asked
    return end_run(store, clock, tenant_id, run_id, RunStatus.CANCELLED, f"cancelled by {by}")


def _asked_to_stop(tx: RunTransaction, run: Run, by: str, now: datetime, *, undo: bool) -> Run:
    """The run with what is asked of it written down: killed after this, a sweep ends it."""
    changes: dict[str, Any] = {}
    if run.cancel_requested_at is None:
        changes = {"cancel_requested_at": now, "error": f"cancelled by {by}"}
    if undo and run.undo_requested_by is None:
        refuse_undoing(run)
        changes["undo_requested_by"] = by
    if not changes:
        return run
    asked = run.changed(now, **changes)
    tx.save_run(run, asked)
    leave_audit(tx, by, "run.cancel", run.id, {"undo": undo}, now)
    return asked


def is_last(walk: Walk, ended: Job) -> bool:
    """Whether the run's other jobs have all ended, and it is this walk's to close."""
    if walk.routed is not None:
        return False
    missing = len(walk.plan.jobs) - len(walk.endings)
    return missing == (0 if ended.step in walk.endings else 1)


def _outputs(engine: Engine, walk: Walk) -> dict[str, Any]:
    try:
        outputs = walk.secrets.hide(evaluate(walk.plan.outputs, run_scope(walk)))
    except FactoryError as error:
        # Everything was made; only what the template says of it cannot be worked out.
        why = walk.secrets.hide_in(f"outputs: {error.explain()}")
        return {"status": RunStatus.FAILED, "error": why}
    return {"outputs": to_body(engine.storage, walk.run.tenant_id, outputs)}


def _stopped(job: Job, status: RunStatus, now: datetime, reason: str) -> Job:
    changes: dict[str, Any] = {"lease_owner": None, "lease_expires_at": None}
    if status is RunStatus.CANCELLED:
        return job.move_to(JobStatus.CANCELLED, now, **changes)
    if job.status is JobStatus.PENDING:
        # So that a retry of the run brings it back with those that failed.
        return job.move_to(JobStatus.SKIPPED, now, skip_reason=SkipReason.NEED_FAILED)
    return job.move_to(JobStatus.FAILED, now, error=reason, **changes)


def _close_attempts(
    tx: RunTransaction, run_id: str, status: RunStatus, now: datetime, reason: str
) -> None:
    """Attempts whose executor did not close them: it was too slow, or is gone."""
    outcome = Outcome.CANCELLED if status is RunStatus.CANCELLED else Outcome.LOST
    for attempt in tx.list_attempts(run_id):
        if attempt.outcome is None:
            tx.save_attempt(replace(attempt, outcome=outcome, completed_at=now, error=reason))
