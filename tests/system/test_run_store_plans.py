"""What the databases do with the queries of every day, and how quickly a store is opened."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from benchmarks.sweep import NOW, STUCK, StoppedClock, add_stuck, fill, look, without_indexes
from factory_runtime.domain.records import SetAside
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter, RunKey
from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.services.dispatch import dispatch_next
from factory_runtime.services.stuck import tell_stuck
from factory_runtime.services.sweep import sweep
from tests.builders import TENANT, a_message, a_run, after, an_event
from tests.services import PostgresServer
from tests.small_factory import FlowRuns

# --- what SQLite promises


def test_sqlite_is_set_up_to_survive_a_power_cut(sqlite_url: str) -> None:
    with closing(open_run_store(sqlite_url)) as store, store.engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }


def test_an_open_store_at_head_does_without_alembic(sqlite_url: str) -> None:
    program = (
        "import sys; from factory_runtime.run_store import open_run_store;"
        "open_run_store(sys.argv[1]); print('alembic' in sys.modules, 'sqlalchemy.orm' in"
        " sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, sqlite_url], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False False"


# --- query plans


@contextmanager
def explained(store: SqlRunStore) -> Generator[list[str]]:
    """The plan of every query and UPDATE that the store makes meanwhile, one text each."""
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        of_walls = "set_config(" in statement or "row_security_active(" in statement
        if statement.startswith(("SELECT", "UPDATE", "WITH")) and not of_walls:
            sqlite = connection.dialect.name == "sqlite"
            cursor.execute(
                f"{'EXPLAIN QUERY PLAN' if sqlite else 'EXPLAIN'} {statement}", parameters
            )
            plans.append("\n".join(str(row) for row in cursor.fetchall()))

    event.listen(store.engine, "before_cursor_execute", explain)
    yield plans
    event.remove(store.engine, "before_cursor_execute", explain)


def filled(store: SqlRunStore) -> None:
    """Enough rows, of a few tenants and projects, for a planner to prefer an index."""
    for tenant in (TENANT, "umbrella"):
        with store.begin(tenant) as tx:
            for number in range(200):
                run = a_run(
                    tenant_id=tenant,
                    id=f"run-{number}",
                    project_id=f"project-{number % 20}",
                    requested_at=after() - timedelta(days=number),
                    status=RunStatus.VALIDATED if number % 50 == 0 else RunStatus.SUCCEEDED,
                )
                tx.add_run(run)
                message = a_message(
                    tenant_id=tenant, created_at=after(number), payload={"text": "x" * 1500}
                )
                tx.add_message(message)
                if number % 50:
                    tx.save_message(replace(message, done_at=after(1)))
            for _ in range(300):
                tx.add_event(an_event(a_run(tenant_id=tenant, id="run-7")))
    with store.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()


def test_the_queries_of_every_day_use_an_index(database_store: SqlRunStore) -> None:
    filled(database_store)
    month = RunFilter(project_id="project-3", since=after() - timedelta(days=30))
    with explained(database_store) as plans:
        with database_store.begin(TENANT, read_only=True) as tx:
            page = tx.list_runs(month)
            cursor = tx.list_runs(RunFilter(), limit=100).cursor
            tx.list_runs(RunFilter(), limit=10, cursor=cursor)
            tx.list_events("run-7", after=250)
            tx.list_runs(RunFilter(text="microservice"), limit=10, cursor=cursor)
        database_store.due_messages(after(9999))
        database_store.outbox_lines()
    assert len(page.items) == 2
    behind = plans.pop(4)
    assert re.search(r"run_words.*requested_at ?<", behind, re.DOTALL), behind
    wanted = ["ix_runs_project", "ix_runs_age", "ix_runs_age", "pk_run_events"]
    wanted += ["ix_outbox_open"] * 2
    for name, plan in zip(wanted, plans, strict=True):
        found = name in plan or "sqlite_autoindex_run_events" in plan
        assert found, f"{name} is not used:\n{plan}"
        assert "SCAN runs" not in plan
        assert "Seq Scan" not in plan


def test_the_vectors_of_texts_are_found_without_those_of_all_others(
    sqlite_store: SqlRunStore,
) -> None:
    drop = "DELETE FROM memory_vectors WHERE tenant_id = 'acme' AND text_digest IN ('a', 'b')"
    with sqlite_store.engine.connect() as connection:
        (plan, *_) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {drop}").all()
    assert "(tenant_id=? AND text_digest=?)" in plan[-1]


def test_whether_it_has_succeeded_since_is_looked_up_by_the_digest_of_inputs(
    database_store: SqlRunStore,
) -> None:
    with database_store.begin(TENANT) as tx:
        for number in range(1000):
            status = RunStatus.FAILED if number % 100 == 0 else RunStatus.SUCCEEDED
            digest = f"{number // 2:064}"
            tx.add_run(
                a_run(
                    id=f"run-{number}",
                    status=status,
                    requested_at=after(number),
                    completed_at=after(number),
                    inputs_digest=digest,
                )
            )
    with database_store.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    failed = (RunStatus.FAILED,)
    where = RunFilter(statuses=failed, ended_until=after(99_999), not_since_succeeded=True)
    with explained(database_store) as plans, database_store.begin(TENANT, read_only=True) as tx:
        assert tx.count_runs(where) == 0  # each has its like a second later
        assert tx.count_runs(replace(where, not_since_succeeded=False)) == 10
    assert "ix_runs_inputs_digest" in plans[0], plans[0]
    assert not read_whole(plans[0].replace("SCAN later", "SCAN runs")), plans[0]


def read_whole(plan: str) -> bool:
    """Whether it reads all runs or all jobs; walking a partial index is not that."""
    tables = ("runs", "jobs")
    return any(
        f"Seq Scan on {table}" in plan
        or re.search(rf"SCAN {table}\b(?! USING (COVERING )?INDEX ix_)", plan)
        for table in tables
    )


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)]
)
def crowded_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[SqlRunStore]:
    """Finished runs, filled once; enough for a planner to shun their table."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('crowded') / 'factory.db'}"
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(server.database())
        store = stack.enter_context(closing(open_run_store(url)))
        fill(store, finished=20_000, jobs_each=1)
        yield store


@pytest.fixture
def crowded_store(crowded_database: SqlRunStore) -> SqlRunStore:
    """And 100 runs that a killed process left, and one that waits."""
    add_stuck(crowded_database)
    with crowded_database.begin("bench") as tx:
        tx.add_run(a_run(tenant_id="bench", status=RunStatus.VALIDATED))
    return crowded_database


def test_what_looks_for_the_open_runs_never_reads_the_finished_ones(
    crowded_store: SqlRunStore,
) -> None:
    place = RunKey("bench", "run-0")
    looks: list[tuple[Callable[[], object], set[str]]] = [
        (lambda: crowded_store.overdue_runs(NOW), {"ix_runs_deadline", "ix_runs_cancelling"}),
        (crowded_store.running_runs, {"ix_runs_admitted"}),
        (lambda: crowded_store.expired_jobs(NOW), {"ix_jobs_lease"}),
        (crowded_store.open_flow_runs, {"ix_runs_open_keys"}),
        (lambda: crowded_store.open_flow_runs(after=place), {"ix_runs_open_keys"}),
        (lambda: crowded_store.waiting_runs(NOW), {"ix_runs_open"}),
    ]
    of_what_is_open = {name for _, names in looks for name in names}
    with crowded_store.begin_dispatch() as dispatch:
        looks.append((dispatch.holders, {"ix_runs_admitted"}))
        looks.append((lambda: dispatch.waiting_runs(NOW), {"ix_runs_open"}))
        for look_, wanted in looks:
            with explained(crowded_store) as plans:
                assert look_(), "there is nothing to be found"
            (plan,) = plans
            used = set(re.findall(r"ix_\w+", plan))
            # PostgreSQL weighs one small index against another, by what it has counted last.
            sqlite = crowded_store.engine.dialect.name == "sqlite"
            assert used == wanted if sqlite else used <= of_what_is_open, plan
            assert not read_whole(plan), plan


def test_a_whole_sweep_reads_no_table_through(crowded_store: SqlRunStore) -> None:
    with explained(crowded_store) as plans:
        swept = sweep(crowded_store, StoppedClock())
    assert swept.cancelled + swept.left >= STUCK
    assert len(plans) > STUCK
    for plan in plans:
        assert not read_whole(plan), plan


def test_the_numbers_of_monitoring_read_what_is_open_and_the_latest_that_ended(
    crowded_store: SqlRunStore,
) -> None:
    since = NOW - timedelta(days=1)
    with explained(crowded_store) as plans:
        found = crowded_store.numbers(NOW, since=since, most=50, seen_after=NOW)
    assert found.open_runs
    assert found.leases
    assert len(found.ended_runs) == 50 <= len(found.ended_jobs)
    for plan in plans:
        assert not read_whole(plan), plan
    ended = [plan for plan in plans if "ix_runs_ended" in plan]
    runs_, jobs_, uses = ended
    for plan in (runs_, jobs_):
        assert "TEMP B-TREE" not in plan, plan
        assert "Sort" not in plan, plan
    if crowded_store.engine.dialect.name == "sqlite":
        assert re.search(r"SEARCH memory_uses .*\(tenant_id=\? AND run_id=\?\)", uses), uses


class LaterClock(StoppedClock):
    """Two hours after the others."""

    def now(self) -> datetime:
        return NOW + timedelta(hours=2)


def test_looking_for_runs_that_are_stuck_reads_no_table_through(
    crowded_store: SqlRunStore,
) -> None:
    with explained(crowded_store) as plans:
        found = tell_stuck(crowded_store, LaterClock(), timedelta(hours=1), cap=10_000)
    assert found >= STUCK
    for plan in plans:
        assert not read_whole(plan), plan
        assert not re.search(r"SCAN run_events|Seq Scan on run_events", plan), plan


@pytest.fixture(scope="module")
def queued_store(crowded_database: SqlRunStore) -> SqlRunStore:
    """And a few thousand runs in the queue, of 50 tenants; some woken, some set aside."""
    tenants = [f"queued-{number}" for number in range(50)]
    waits = {"status": RunStatus.WAITING, "wake_at": NOW}
    for tenant in tenants:
        with crowded_database.begin(tenant) as tx:
            for number in range(60):
                kind = waits if number % 20 == 1 else {"status": RunStatus.VALIDATED}
                tx.add_run(
                    run := a_run(
                        tenant_id=tenant,
                        project_id=f"project-{number % 3}",
                        requested_at=after(number),
                        **kind,
                    )
                )
                if number == 0:
                    tx.save_set_aside(SetAside(tenant, run.id, 1, NOW + timedelta(days=1), "no"))
    with crowded_database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    return crowded_database


def test_what_decides_whose_turn_it_is_reads_neither_all_runs_nor_the_whole_queue(
    queued_store: SqlRunStore,
) -> None:
    sqlite = queued_store.engine.dialect.name == "sqlite"
    queue = {"ix_runs_queue"}
    with queued_store.begin_dispatch(read_only=True) as dispatch:
        looks: list[tuple[Callable[[], object], list[set[str]]]] = [
            (dispatch.holders, [{"ix_runs_admitted"}]),
            (lambda: dispatch.heads(NOW), [queue, {"ix_runs_wake"}]),
            (lambda: dispatch.queue_of("queued-7", NOW, limit=5), [queue]),
            (
                lambda: dispatch.queue_of(
                    "queued-7", NOW, limit=5, without_projects=["project-0", "project-1"]
                ),
                [queue],
            ),
            (dispatch.topic("act").at_work, [{"ix_jobs_lease"}]),
        ]
        for look_, wanted in looks:
            with explained(queued_store) as plans:
                look_()
            for names, plan in zip(wanted, plans, strict=False):
                assert names <= set(re.findall(r"ix_\w+", plan)), plan
            for plan in plans:
                assert not read_whole(plan), plan
                # Sorted, a queue would have been read through first.
                assert "Sort Key: head" not in plan, plan
                if sqlite and "ix_runs_queue" in plan:
                    assert "TEMP B-TREE" not in plan, plan


def test_an_admission_reads_no_table_through(queued_store: SqlRunStore) -> None:
    with explained(queued_store) as plans:
        run = dispatch_next(queued_store, FlowRuns(), StoppedClock(), 10_000, "bench:1")
    assert run is not None
    assert len(plans) > 5
    for plan in plans:
        assert not read_whole(plan), plan


def test_reading_a_whole_table_would_be_seen(crowded_store: SqlRunStore) -> None:
    with without_indexes(crowded_store.engine), explained(crowded_store) as plans:
        look(crowded_store)
    looks = [plan for plan in plans if "lock" not in plan]
    assert len(looks) == 6
    assert all(read_whole(plan) for plan in looks)
