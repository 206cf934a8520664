"""What the sweep asks over all tenants: each one look into an index of rows that are open."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, exists, literal, or_, select, tuple_, union_all

from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunKey
from factory_runtime.run_store.records import RUNS
from factory_runtime.run_store.tables import dead_letters, jobs, locks, runs

_KEY = (runs.c.tenant_id, runs.c.id)
_SEEN = (*_KEY, runs.c.flow_run_id, runs.c.version)
_AGE = (runs.c.priority, runs.c.requested_at, runs.c.id)
_IS_OPEN = runs.c.completed_at.is_(None)


def running_runs() -> Select[tuple[str, str]]:
    """Keys of the runs that have a slot."""
    return select(*_KEY).where(runs.c.admitted_at.is_not(None)).order_by(*_AGE)


def held_runs(lock: str, holder: str, now: datetime) -> Select[Any]:
    """Key, flow run and version of those whose lock, ``lock`` and the run's id, somebody holds."""
    of_run = and_(
        locks.c.tenant_id == runs.c.tenant_id,
        locks.c.name == literal(lock).concat(runs.c.id),
    )
    return (
        select(*_SEEN)
        .join(locks, of_run)
        .where(
            runs.c.admitted_at.is_not(None),
            runs.c.flow_run_id.is_not(None),
            locks.c.holder == holder,
            locks.c.expires_at > now,
        )
        .order_by(*_AGE)
    )


def overdue_runs(now: datetime, limit: int) -> Select[tuple[str, str]]:
    """Keys of open runs past their deadline, or asked to be cancelled."""
    nobody_asked = runs.c.people_asked_at.is_(None)  # else the deadline stands still
    late = select(*_KEY).where(_IS_OPEN, runs.c.deadline_at <= now, nobody_asked)
    unwanted = select(*_KEY).where(_IS_OPEN, runs.c.cancel_requested_at.is_not(None))
    both = union_all(late, unwanted).subquery()
    return select(both.c.tenant_id, both.c.id).distinct().limit(limit)


def expired_jobs(now: datetime, limit: int) -> Select[tuple[str, str, str]]:
    """Keys of claimed jobs whose lease has run out."""
    return (
        select(jobs.c.tenant_id, jobs.c.run_id, jobs.c.step)
        .where(
            jobs.c.lease_expires_at.is_not(None),
            jobs.c.lease_expires_at <= now,
            jobs.c.status == JobStatus.RUNNING,
        )
        .order_by(jobs.c.lease_expires_at)
        .limit(limit)
    )


def open_flow_runs(after: RunKey | None, limit: int) -> Select[Any]:
    """Key, flow run and version of open runs that nobody cancelled yet, in the order of their keys."""
    has_flow_run, wanted = runs.c.flow_run_id.is_not(None), runs.c.cancel_requested_at.is_(None)
    query = select(*_SEEN).where(_IS_OPEN, has_flow_run, wanted)
    return _part_of(query, after, limit)


def unfinished_runs(after: RunKey | None, limit: int) -> Select[tuple[Run]]:
    """Runs that may still go on, in the order of their keys: open ones, and those with letters."""
    has_letters = exists().where(
        dead_letters.c.tenant_id == runs.c.tenant_id,
        dead_letters.c.run_id == runs.c.id,
        dead_letters.c.status == LetterStatus.OPEN,
    )
    failed = and_(runs.c.status == RunStatus.FAILED, has_letters)
    return _part_of(select(*RUNS.columns).where(or_(_IS_OPEN, failed)), after, limit)


def _part_of(query: Select[Any], after: RunKey | None, limit: int) -> Select[Any]:
    if after is not None:
        query = query.where(tuple_(*_KEY) > tuple_(literal(after.tenant_id), literal(after.run_id)))
    return query.order_by(*_KEY).limit(limit)
