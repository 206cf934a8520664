"""Put a run aside, and let it go on."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.domain.errors import ConflictError, IllegalTransitionError
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.locks import find_walker
from factory_runtime.services.messages import leave_status
from factory_runtime.services.signals import RUN_RESUMED, signal_run
from factory_runtime.services.take_back import take_back


def pause_run(store: RunStore, clock: Clock, tenant_id: str, run_id: str, by: str) -> Run:
    """Put a run aside until somebody resumes it; its deadline goes on meanwhile.

    One that is executed is asked to: its jobs in flight finish, or stop at a safe point, and then
    it is Paused. One that waits for something outside, or whose process is gone, is Paused at once;
    one that nobody has begun stays where it is in the queue and is not admitted. Asking again
    changes nothing.

    Raises:
        RunNotFoundError: no such run.
        IllegalTransitionError: it has ended.
        ConflictError: it is being cancelled.
    """
    with store.begin(tenant_id) as tx:
        run = tx.lock_run(run_id)
        if run.ended:
            raise IllegalTransitionError(f"run {run_id}", run.status, RunStatus.PAUSED)
        _refuse_if_stopping(run)
        now = clock.now()
        if run.status is RunStatus.PAUSED:
            return run
        if _is_at_rest(tx, run, now):
            for job in tx.list_jobs(run_id):
                take_back(tx, job, now)
            return _move(tx, run, RunStatus.PAUSED, now, by)
        if run.pause_requested_at is not None:
            return run
        return _request(tx, run, run.changed(now, pause_requested_at=now), "pause", by)


def resume_run(store: RunStore, clock: Clock, tenant_id: str, run_id: str, by: str) -> Run:
    """Let a paused run go on: it queues for a slot like any other. Repeating it changes nothing.

    One that was asked to pause and is not Paused yet just goes on. Jobs that waited for something
    are due when they were; a deadline that passed meanwhile cancels the run.

    Raises:
        RunNotFoundError: no such run.
        IllegalTransitionError: it is not paused.
        ConflictError: it is being cancelled.
    """
    with store.begin(tenant_id) as tx:
        run = tx.lock_run(run_id)
        if not run.ended:
            _refuse_if_stopping(run)
        now = clock.now()
        if run.status is RunStatus.PAUSED:
            return _move(tx, run, RunStatus.QUEUED, now, by)
        if not run.ended and run.pause_requested_at is not None:
            return _request(tx, run, run.changed(now, pause_requested_at=None), "resume", by)
        if run.status is RunStatus.QUEUED:
            return run
        error = IllegalTransitionError(f"run {run_id}", run.status, RunStatus.QUEUED)
        error.hint = "only a paused run can be resumed"
        raise error


def _refuse_if_stopping(run: Run) -> None:
    if run.cancel_requested_at is not None:
        raise ConflictError(f"run {run.id} is {run.status} and being cancelled")


def _is_at_rest(tx: RunTransaction, run: Run, now: datetime) -> bool:
    """Whether nobody has to let go of the run before it can be Paused."""
    if run.status is RunStatus.RUNNING:
        return run.admitted_at is None and find_walker(tx, run.id, now) is None
    return run.status is RunStatus.WAITING


def _move(tx: RunTransaction, run: Run, status: RunStatus, now: datetime, by: str) -> Run:
    moved = run.move_to(status, now, admitted_at=None, wake_at=None, pause_requested_at=None)
    tx.save_run(run, moved, detail={"by": by})
    what = "run.pause" if status is RunStatus.PAUSED else "run.resume"
    leave_audit(tx, by, what, run.id, {"asked_at": run.status}, now)
    leave_status(tx, moved, now)
    if status is RunStatus.QUEUED:
        signal_run(tx, moved, RUN_RESUMED, now)
    return moved


def _request(tx: RunTransaction, run: Run, asked: Run, what: str, by: str) -> Run:
    tx.save_run(run, asked)
    detail = {"asked": what, "by": by}
    tx.add_event(RunEvent(tx.tenant_id, run.id, asked.updated_at, "request", detail=detail))
    leave_audit(tx, by, f"run.{what}", run.id, {"asked_at": run.status}, asked.updated_at)
    return asked
