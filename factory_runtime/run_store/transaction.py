"""The run store's transaction: runs, jobs, attempts and their history."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.errors import (
    DuplicateAttemptError,
    JobNotFoundError,
    LeaseLostError,
    PermanentError,
    RunNotFoundError,
    StaleVersionError,
)
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.records import Checkpoint, RunEvent
from factory_runtime.domain.run import Run
from factory_runtime.domain.run_words import words_of_run
from factory_runtime.ports import Page, RunFilter
from factory_runtime.run_store.access import Access
from factory_runtime.run_store.audits import Audits
from factory_runtime.run_store.deployments import Deployments
from factory_runtime.run_store.experience import Experience
from factory_runtime.run_store.groups import LetterCounts
from factory_runtime.run_store.keeping import Keeping
from factory_runtime.run_store.ledgers import Ledgers
from factory_runtime.run_store.memories import Memories
from factory_runtime.run_store.operators import Operators
from factory_runtime.run_store.paging import behind, conditions_of, cursor_of, place_of
from factory_runtime.run_store.publications import Publications
from factory_runtime.run_store.queues import Queues
from factory_runtime.run_store.records import ATTEMPTS, CHECKPOINTS, EVENTS, JOBS, RUN_WORDS, RUNS
from factory_runtime.run_store.routed_jobs import RoutedJobs
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.run_store.tables import attempts, jobs, run_events
from factory_runtime.run_store.webhooks import Webhooks

S = TypeVar("S", Run, Job)

_WITHOUT_VERSION = ("lease_expires_at", "progress", "phrase", "routed_flow_run_id")
"""What heartbeats and notes change of a job between two of its versions."""


class SqlTransaction(
    Ledgers,
    Memories,
    Experience,
    Operators,
    Queues,
    Deployments,
    Publications,
    RoutedJobs,
    Audits,
    Webhooks,
    Access,
    Keeping,
):
    """``ports.RunTransaction`` on SQLAlchemy.

    Who writes a run's history or its jobs holds the run's row first, so that two of them never wait
    for each other, and events become visible in the order of their numbers.
    """

    def __init__(self, rows: TenantRows) -> None:
        super().__init__(rows)
        self._counts = LetterCounts(rows)
        self._held: set[str] = set()

    def finish(self) -> None:
        """What comes last in a transaction: rows that many runs share, in one order for all."""
        self._counts.write()
        self._rows.flush()

    @property
    def tenant_id(self) -> str:
        return self._rows.tenant_id

    # runs

    def add_run(
        self,
        run: Run,
        jobs: Sequence[Job] = (),
        *,
        requested: Run | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        self._rows.insert(RUNS, [run])
        self._rows.insert(RUN_WORDS, words_of_run(run))
        self._rows.insert(JOBS, jobs)
        events = [_event(requested or run, None, run.requested_at, {})]
        if requested is not None:
            requested.move_to(run.status, run.updated_at)  # or refuse it
            events.append(_event(run, requested.status, run.updated_at, detail or {}))
        # Pending needs no line of its own: it is where every job begins.
        events += [
            _event(job, None, run.requested_at, {})
            for job in jobs
            if job.status is not JobStatus.PENDING
        ]
        numbered = [replace(event, sequence=number) for number, event in enumerate(events, 1)]
        self._rows.insert(EVENTS, numbered)

    def get_run(self, run_id: str) -> Run:
        run = self._rows.find(RUNS, id=run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        return run

    def lock_run(self, run_id: str) -> Run:
        self._hold_run(run_id)
        return self.get_run(run_id)

    def save_run(self, before: Run, after: Run, *, detail: Mapping[str, Any] | None = None) -> None:
        _check_successor(before, after)
        if after.status is not before.status:
            before.move_to(after.status, after.updated_at)  # or refuse it
        changed = self._rows.change(
            RUNS, RUNS.changes(before, after), id=before.id, version=before.version
        )
        if changed:
            self._record_move(before, after, detail)
        elif not self._rows.same(RUNS, self.get_run(before.id), after):
            raise StaleVersionError(f"run {before.id} changed meanwhile", hint="read it again")

    def list_runs(
        self, where: RunFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Run]:
        conditions, place = conditions_of(where), place_of(where)
        if cursor is not None:
            conditions.append(behind(cursor, *place))
        found = self._rows.list(
            RUNS,
            *conditions,
            order_by=tuple(column.desc() for column in place),
            limit=limit + 1 if limit > 0 else limit,
        )
        items = found[:limit]
        return Page(items, cursor_of(items[-1]) if len(found) > limit else None)

    def count_runs(self, where: RunFilter) -> int:
        return self._rows.count(RUNS, *conditions_of(where))

    def find_run_by_flow_run(self, flow_run_id: str) -> Run | None:
        return self._rows.find(RUNS, flow_run_id=flow_run_id)

    # jobs

    def add_jobs(self, jobs: Sequence[Job]) -> None:
        for run_id in {job.run_id for job in jobs}:
            self._come_first(run_id)
        self._rows.insert(JOBS, jobs)

    def get_job(self, run_id: str, step: str) -> Job:
        job = self._rows.find(JOBS, run_id=run_id, step=step)
        if job is None:
            raise JobNotFoundError(f"no job {step} in run {run_id}")
        return job

    def list_jobs(self, run_id: str) -> tuple[Job, ...]:
        return self._rows.list(JOBS, jobs.c.run_id == run_id, order_by=(jobs.c.position,))

    def save_job(self, before: Job, after: Job, *, detail: Mapping[str, Any] | None = None) -> None:
        _check_successor(before, after)
        if after.status is not before.status:
            before.move_to(after.status, after.updated_at)  # or refuse it
        self._come_first(before.run_id)
        changes = JOBS.changes(before, after)
        if after.status is JobStatus.RUNNING and before.status is not JobStatus.RUNNING:
            # What an earlier attempt noted, which the claimer's own copy of the row may not show.
            changes |= {"progress": after.progress, "phrase": after.phrase}
        changed = self._rows.change(
            JOBS,
            changes,
            run_id=before.run_id,
            step=before.step,
            version=before.version,
            fencing_token=before.fencing_token,
        )
        if changed:
            self._record_move(before, after, detail)
        elif not self._rows.same(
            JOBS, self.get_job(before.run_id, before.step), after, but_for=_WITHOUT_VERSION
        ):
            raise StaleVersionError(
                f"job {before.step} of {before.run_id} changed meanwhile", hint="read it again"
            )

    # attempts

    def add_attempt(self, attempt: Attempt) -> None:
        if not self._rows.insert_if_absent(ATTEMPTS, attempt):
            stands = self._rows.find(ATTEMPTS, key=attempt.key)
            if stands is None or not self._rows.same(ATTEMPTS, stands, attempt):
                raise DuplicateAttemptError(f"attempt {attempt.key} is recorded already")

    def save_attempt(self, attempt: Attempt) -> None:
        row = ATTEMPTS.row_of(attempt)
        if not self._rows.change(ATTEMPTS, row, key=attempt.key):
            raise JobNotFoundError(f"no attempt {attempt.key}")

    def list_attempts(self, run_id: str, step: str | None = None) -> tuple[Attempt, ...]:
        where = [attempts.c.run_id == run_id]
        if step is not None:
            where.append(attempts.c.step == step)
        order = (attempts.c.started_at, attempts.c.step, attempts.c.number)
        return self._rows.list(ATTEMPTS, *where, order_by=order)

    # leases and checkpoints

    def hold_job(self, job: Job) -> None:
        self._come_first(job.run_id)
        held = self._rows.lock(
            JOBS,
            run_id=job.run_id,
            step=job.step,
            status=JobStatus.RUNNING,
            fencing_token=job.fencing_token,
        )
        if not held:
            raise _lost(job)

    def renew_leases(self, run_id: str, owner: str, expires_at: datetime) -> int:
        self._come_first(run_id)
        return self._rows.change(
            JOBS,
            {"lease_expires_at": expires_at},
            run_id=run_id,
            status=JobStatus.RUNNING,
            lease_owner=owner,
        )

    def wake_job(self, run_id: str, step: str, at: datetime) -> bool:
        self._come_first(run_id)
        waiting = {"run_id": run_id, "step": step, "status": JobStatus.WAITING}
        return self._rows.change(JOBS, {"not_before": at}, **waiting) == 1

    def note_progress(self, job: Job, progress: float | None, phrase: str | None) -> None:
        self._come_first(job.run_id)
        noted = self._rows.change(
            JOBS,
            {"progress": progress, "phrase": phrase},
            run_id=job.run_id,
            step=job.step,
            status=JobStatus.RUNNING,
            fencing_token=job.fencing_token,
        )
        if not noted:
            raise _lost(job)

    def save_checkpoint(self, job: Job, checkpoint: Checkpoint) -> None:
        if (checkpoint.run_id, checkpoint.step) != (job.run_id, job.step):
            raise PermanentError(f"a checkpoint of {checkpoint.step} is not one of {job.step}")
        self.hold_job(job)
        self._rows.put(CHECKPOINTS, checkpoint, key=("tenant_id", "run_id", "step"))

    def find_checkpoint(self, run_id: str, step: str) -> Checkpoint | None:
        return self._rows.find(CHECKPOINTS, run_id=run_id, step=step)

    # events

    def add_event(self, event: RunEvent) -> None:
        self._hold_run(event.run_id)
        self._append(event)

    def list_events(
        self, run_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[RunEvent, ...]:
        return self._rows.list(
            EVENTS,
            run_events.c.run_id == run_id,
            run_events.c.sequence > after,
            order_by=(run_events.c.sequence,),
            limit=limit,
        )

    def find_last_event(self, run_id: str, *, besides: Collection[str] = ()) -> RunEvent | None:
        last = self._rows.list(
            EVENTS,
            run_events.c.run_id == run_id,
            run_events.c.kind.not_in(besides),
            order_by=(run_events.c.sequence.desc(),),
            limit=1,
        )
        return last[0] if last else None

    def _hold_run(self, run_id: str) -> None:
        if not self._hold(run_id):
            raise RunNotFoundError(run_id)

    def _come_first(self, run_id: str) -> None:
        """Wait for the run's other writers before any row of its jobs is touched."""
        if self._rows.many_writers:
            self._hold(run_id)

    def _hold(self, run_id: str) -> bool:
        """Hold the run's row, once: it stays held until the end; False where there is none."""
        if run_id not in self._held:
            if not self._rows.lock(RUNS, id=run_id):
                return False
            self._held.add(run_id)
        return True

    def _record_move(self, before: S, after: S, detail: Mapping[str, Any] | None) -> None:
        if after.status is not before.status:
            self._append(_event(after, before.status, after.updated_at, detail or {}))

    def _append(self, event: RunEvent) -> None:
        self._rows.append(EVENTS, event, number="sequence", within="run_id")


def _lost(job: Job) -> LeaseLostError:
    return LeaseLostError(
        f"attempt {job.attempt} of {job.step} of {job.run_id} has lost its lease",
        hint="another worker goes on with it",
    )


def _check_successor(before: S, after: S) -> None:
    """Refuse another thing than the one before, and a change without a new version."""
    if (before.tenant_id, before.id) != (after.tenant_id, after.id):
        raise PermanentError(f"{after.id} cannot be saved in the place of {before.id}")
    if after.version <= before.version:
        raise StaleVersionError(f"{before.id} was changed without a new version")


def _event(
    moved: Run | Job, from_status: str | None, at: datetime, detail: Mapping[str, Any]
) -> RunEvent:
    is_run = isinstance(moved, Run)
    return RunEvent(
        tenant_id=moved.tenant_id,
        run_id=moved.id if is_run else moved.run_id,
        at=at,
        kind="run" if is_run else "job",
        step=None if is_run else moved.step,
        from_status=from_status,
        to_status=moved.status,
        detail=detail,
    )
