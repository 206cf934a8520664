"""A sweep over a store with many finished runs and some that were left by killed processes.

What it looks for lies in partial indexes of what is open, so that finished runs cost it nothing.
Beside it stands the plain way: the same looks by reading the tables. PostgreSQL runs as it does for
the tests: its commits are written, but not flushed to the disk; SQLite flushes each of its own.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, String, Table, event, insert, literal, select
from sqlalchemy import cast as as_type

from benchmarks.ratio import Ratio
from factory_runtime.domain.body import Body
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.run_store.tables import jobs, runs
from factory_runtime.services.locks import walk_lock
from factory_runtime.services.sweep import sweep
from tests.services import running_postgres

FINISHED = 100_000
STUCK = 100
ROUNDS = 3
TARGET_SECONDS = 1.0
TENANT = "bench"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
_LONG_AGO = NOW - timedelta(hours=2)


class StoppedClock:
    """``ports.Clock``, always at noon."""

    def now(self) -> datetime:
        return NOW


def main() -> tuple[Ratio, ...]:
    """Print milliseconds on both databases; the whole sweep in seconds, and set beside reading."""
    ratios: list[Ratio] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="factory-bench-"))
        server = stack.enter_context(running_postgres(durable=True))
        urls = {
            "SQLite": f"sqlite:///{Path(folder) / 'factory.db'}",
            "PostgreSQL": stack.enter_context(server.database()),
        }
        for name, url in urls.items():
            with closing(open_run_store(url)) as store:
                ratios += _figures(name, store)
    return tuple(ratios)


def _figures(name: str, store: SqlRunStore) -> tuple[Ratio, Ratio]:
    took = _seconds(lambda: fill(store))
    print(f"{name}: {FINISHED:,} finished runs written in {took:.1f} s")
    swept: list[float] = []
    looked: list[float] = []
    read: list[float] = []
    for _ in range(ROUNDS):
        add_stuck(store)
        looked.append(_seconds(lambda: look(store)))
        with without_indexes(store.engine):
            read.append(_seconds(lambda: look(store)))
        swept.append(_seconds(lambda: _sweep_all(store)))
    sweep_s, look_s, read_s = (statistics.median(times) for times in (swept, looked, read))
    print(
        f"{name}: sweep of {STUCK} stuck runs {sweep_s * 1e3:.0f} ms, of it looking"
        f" {look_s * 1e3:.1f} ms; looking by reading the tables {read_s * 1e3:.1f} ms"
    )
    return (
        Ratio(f"seconds of a sweep, {name}", sweep_s, TARGET_SECONDS),
        Ratio(f"looks of a sweep / reading the tables, {name}", look_s / read_s, 0.5),
    )


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _sweep_all(store: SqlRunStore) -> None:
    swept = sweep(store, StoppedClock())
    assert swept.cancelled + swept.left == STUCK, swept


def look(store: SqlRunStore) -> None:
    """Every look that a sweep and a dispatcher take at the runs of all tenants."""
    store.overdue_runs(NOW)
    store.running_runs()
    store.expired_jobs(NOW)
    store.open_flow_runs()
    store.waiting_runs(NOW)
    with store.begin_dispatch() as dispatch:
        dispatch.holders()


# --- what is in the store


def fill(store: SqlRunStore, finished: int = FINISHED, jobs_each: int = 3) -> None:
    """Many finished runs, each with its jobs: one is recorded, and the database copies it."""
    run = a_run(RunStatus.SUCCEEDED, completed_at=_LONG_AGO)
    with store.begin(TENANT) as tx:
        tx.add_run(run, [_job(run, number, JobStatus.SUCCEEDED) for number in range(jobs_each)])
    with store.engine.begin() as connection:
        _copy(connection, runs, run.id, ("id", "flow_run_id"), finished - 1)
        _copy(connection, jobs, run.id, ("id", "run_id"), finished - 1)
    with store.engine.connect() as connection:  # as autovacuum does
        connection.exec_driver_sql("ANALYZE")
        connection.commit()


def add_stuck(store: SqlRunStore, stuck: int = STUCK) -> None:
    """Runs that a killed process left: half only left, a quarter late, a quarter to be cancelled.

    A process was at two jobs of each; its lock and its leases have run out.
    """
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {},
        {"deadline_at": NOW - timedelta(minutes=1)},
        {"cancel_requested_at": NOW - timedelta(minutes=1)},
    )
    expired = NOW - timedelta(seconds=1)
    with store.begin(TENANT) as tx:
        for number in range(stuck):
            run = a_run(RunStatus.RUNNING, admitted_at=_LONG_AGO, **kinds[number % len(kinds)])
            claim = {"lease_owner": "gone:1", "lease_expires_at": expired, "fencing_token": 1}
            tx.add_run(
                run,
                [
                    _job(run, 0, JobStatus.SUCCEEDED),
                    _job(run, 1, JobStatus.RUNNING, attempt=1, **claim),
                    _job(run, 2, JobStatus.RUNNING, attempt=1, **claim),
                ],
            )
            tx.try_lock(walk_lock(run.id), "gone:1", _LONG_AGO, expired)


def a_run(status: RunStatus, **values: Any) -> Run:
    """A run that was requested two hours ago."""
    run_id = new_id("run")
    return Run(
        id=run_id,
        tenant_id=TENANT,
        project_id="shop",
        template_id="microservice",
        template_version="1.0.0",
        template_digest="0" * 64,
        status=status,
        inputs=Body(inline={"service_name": "orders"}),
        requested_by="bench",
        requested_at=_LONG_AGO,
        updated_at=_LONG_AGO,
        trace_id="0" * 32,
        correlation_id=run_id,
        flow_run_id=f"flow-{run_id}",
        **values,
    )


def _job(run: Run, number: int, status: JobStatus, **values: Any) -> Job:
    return Job(
        id=new_id("job"),
        tenant_id=run.tenant_id,
        run_id=run.id,
        step=f"step-{number}",
        position=number,
        type="repo-generation",
        status=status,
        needs=(),
        max_attempts=5,
        updated_at=_LONG_AGO,
        **values,
    )


def _copy(
    connection: Connection, table: Table, run_id: str, own: tuple[str, ...], copies: int
) -> None:
    """Copy the run's rows, with a number behind the ids of which each row has its own."""
    first = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = first.union_all(select(first.c.n + 1).where(first.c.n < copies))
    suffix = literal("-") + as_type(numbers.c.n, String)
    columns = [
        (column + suffix).label(column.name) if column.name in own else column for column in table.c
    ]
    key = table.c.id if table is runs else table.c.run_id
    rows = select(*columns).select_from(table.join(numbers, literal(1) == 1)).where(key == run_id)
    connection.execute(insert(table).from_select([column.name for column in table.c], rows))


# --- the plain way


@contextmanager
def without_indexes(engine: Engine) -> Generator[None]:
    """Have every SELECT read whole tables meanwhile."""

    def refuse(connection: Connection, _: Any, statement: str, given: Any, *__: Any) -> Any:
        if connection.dialect.name == "sqlite":
            for table in ("runs", "jobs"):
                statement = statement.replace(f"FROM {table} ", f"FROM {table} NOT INDEXED ")
                statement = statement.replace(f"FROM {table}\n", f"FROM {table} NOT INDEXED\n")
        return statement, given

    def only_reading(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            for way in ("indexscan", "indexonlyscan", "bitmapscan"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")

    event.listen(engine, "before_cursor_execute", refuse, retval=True)
    event.listen(engine, "begin", only_reading)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", refuse)
        event.remove(engine, "begin", only_reading)
