"""What monitoring asks over all tenants: looks into indexes of what is open, or ended lately."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    String,
    and_,
    case,
    distinct,
    func,
    select,
    type_coerce,
)

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.tally import ASKED, FAILED, LOST
from factory_runtime.ports import EndedJob, EndedRun, EndedUse, FactoryNumbers, Line
from factory_runtime.run_store.rows import Condition
from factory_runtime.run_store.tables import (
    breakers,
    failure_kinds,
    jobs,
    letter_counts,
    memory_records,
    memory_tallies,
    memory_uses,
    outbox,
    runs,
    stands_in_queue,
    topic_waits,
)

_LEASED = and_(jobs.c.lease_expires_at.is_not(None), jobs.c.status == JobStatus.RUNNING)


def factory_numbers(
    connection: Connection, now: datetime, *, since: datetime, most: int, seen_after: datetime
) -> FactoryNumbers:
    """As ``NumberRecords.numbers``."""
    ended = ended_runs(since, most)
    return FactoryNumbers(
        open_runs=_counts(connection, open_runs()),
        queue=_lines(connection, queue()),
        slots_taken=connection.execute(slots_taken()).scalar_one(),
        topics=_lines(connection, topics(seen_after)),
        leases=_counts(connection, leases()),
        lost_leases=connection.execute(lost_leases(now)).scalar_one(),
        letters=_counts(connection, letters()),
        outbox=outbox_lines(connection),
        open_breakers=_counts(connection, open_breakers(now)),
        ended_runs=tuple(EndedRun(*row[2:]) for row in connection.execute(ended)),
        ended_jobs=tuple(EndedJob(*row) for row in connection.execute(jobs_of(ended))),
        ended_uses=tuple(EndedUse(*row) for row in connection.execute(uses_of(ended))),
        unindexed=unindexed_line(connection),
        summaries=_counts(connection, summaries(now)),
    )


def unindexed_line(connection: Connection) -> Line | None:
    """As ``NumberRecords.unindexed_line``."""
    count, waits_since = connection.execute(unindexed()).one()
    return Line(count, waits_since) if count else None


def unindexed(*where: Condition) -> Select[Any]:
    """How many memories the index does not have, and since when the first has waited for it."""
    columns, tallies = memory_records.c, memory_tallies.c
    # What the release before has written has no time of a change yet.
    changed_at = func.coalesce(columns.changed_at, columns.created_at)
    since = case((tallies.until > changed_at, tallies.until), else_=changed_at)
    lost = and_(tallies.tenant_id == columns.tenant_id, tallies.about == LOST)
    return (
        select(func.count(), func.min(since))
        .select_from(memory_records.outerjoin(memory_tallies, lost))
        .where(columns.indexed_at.is_(None), *where)
    )


def outbox_lines(connection: Connection) -> Mapping[str, Line]:
    """As ``NumberRecords.outbox_lines``."""
    query = (
        select(outbox.c.topic, func.count(), func.min(outbox.c.created_at))
        .where(outbox.c.done_at.is_(None))
        .group_by(outbox.c.topic)
    )
    return _lines(connection, query)


def open_runs() -> Select[Any]:
    """Runs that have not ended, by status."""
    status = type_coerce(runs.c.status, String)  # a damaged one is counted too
    return select(status, func.count()).where(runs.c.completed_at.is_(None)).group_by(status)


def queue() -> Select[Any]:
    """Runs that want a slot now, by priority."""
    waiting = select(runs.c.priority, func.count(), func.min(runs.c.requested_at))
    return waiting.where(stands_in_queue(runs)).group_by(runs.c.priority)


def slots_taken() -> Select[tuple[int]]:
    """How many runs have a slot."""
    return select(func.count()).select_from(runs).where(runs.c.admitted_at.is_not(None))


def topics(seen_after: datetime) -> Select[Any]:
    """Jobs in line for their topic, by topic: of a table that holds no others."""
    columns = topic_waits.c
    waits = (columns.seen_at > seen_after) | (columns.back_at > seen_after)
    line = select(columns.topic, func.count(), func.min(columns.since))
    return line.where(waits).group_by(columns.topic)


def leases() -> Select[Any]:
    """Jobs at work, by type."""
    return select(jobs.c.type, func.count()).where(_LEASED).group_by(jobs.c.type)


def lost_leases(now: datetime) -> Select[tuple[int]]:
    """How many of them have lost their worker, and were not found yet."""
    return select(func.count()).select_from(jobs).where(_LEASED, jobs.c.lease_expires_at <= now)


def letters() -> Select[Any]:
    """Open dead letters by type of job: from what is kept counted."""
    kind = and_(
        failure_kinds.c.tenant_id == letter_counts.c.tenant_id,
        failure_kinds.c.fingerprint == letter_counts.c.fingerprint,
    )
    return (
        select(failure_kinds.c.job_type, func.sum(letter_counts.c.letters))
        .select_from(letter_counts.join(failure_kinds, kind))
        .where(letter_counts.c.letters > 0)
        .group_by(failure_kinds.c.job_type)
    )


def open_breakers(now: datetime) -> Select[Any]:
    """Hosts that are left alone now: of a small table, with a row for each tenant's host."""
    is_open = breakers.c.open_until > now
    return select(breakers.c.host, func.count()).where(is_open).group_by(breakers.c.host)


def ended_runs(since: datetime, most: int) -> Select[Any]:
    """The latest runs that ended since then: their keys, and what an ``EndedRun`` has."""
    return (
        select(
            runs.c.tenant_id,
            runs.c.id,
            runs.c.template_id,
            type_coerce(runs.c.status, String).label("status"),
            runs.c.requested_at,
            runs.c.completed_at,
        )
        .where(runs.c.completed_at >= since)
        .order_by(runs.c.completed_at.desc())
        .limit(most)
    )


def jobs_of(ended: Select[Any]) -> Select[Any]:
    """What an ``EndedJob`` has, of the jobs of these runs."""
    run = ended.subquery()
    of_run = and_(jobs.c.tenant_id == run.c.tenant_id, jobs.c.run_id == run.c.id)
    status = type_coerce(jobs.c.status, String)
    columns = (jobs.c.type, status, func.coalesce(jobs.c.cached, False))
    return select(*columns, jobs.c.started_at, jobs.c.completed_at).select_from(
        run.join(jobs, of_run)
    )


def uses_of(ended: Select[Any]) -> Select[Any]:
    """What an ``EndedUse`` has, of those of these runs that were shown a memory."""
    run = ended.subquery()
    by_run = and_(memory_uses.c.tenant_id == run.c.tenant_id, memory_uses.c.run_id == run.c.id)
    memory_id = memory_uses.c.memory_id  # one that two steps were shown is one memory
    used = case((memory_uses.c.used_at.is_not(None), memory_id))
    counts = (func.count(distinct(memory_id)), func.count(distinct(used)))
    of_run = select(run.c.status, *counts).select_from(run.join(memory_uses, by_run))
    return of_run.group_by(run.c.tenant_id, run.c.id, run.c.status)


def summaries(now: datetime) -> Select[Any]:
    """How often a language model was asked today, and how often in vain."""
    about = memory_tallies.c.about
    today = (about.in_((ASKED, FAILED)), memory_tallies.c.until > now)
    return select(about, func.sum(memory_tallies.c.times)).where(*today).group_by(about)


def _counts(connection: Connection, query: Select[Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in connection.execute(query)}


def _lines(connection: Connection, query: Select[Any]) -> dict[str, Line]:
    return {str(name): Line(count, since) for name, count, since in connection.execute(query)}
