"""What the databases do with the queries of every day, and how quickly a store is opened."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import event

from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import SqlRunStore, open_run_store
from tests.builders import TENANT, a_message, a_run, after, an_event

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
    """The plan of every SELECT that the store makes meanwhile, one text each."""
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
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
            for number in range(400):
                run = a_run(
                    tenant_id=tenant,
                    id=f"run-{number}",
                    project_id=f"project-{number % 20}",
                    requested_at=after() - timedelta(days=number),
                    status=RunStatus.VALIDATED if number % 100 == 0 else RunStatus.SUCCEEDED,
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
        database_store.due_messages(after(9999))
        database_store.dispatchable_runs()
    assert len(page.items) == 2
    wanted = ["ix_runs_project", "ix_runs_age", "ix_runs_age", "pk_run_events", "ix_outbox_open"]
    for name, plan in zip([*wanted, "ix_runs_queue"], plans, strict=True):
        found = name in plan or "sqlite_autoindex_run_events" in plan
        assert found, f"{name} is not used:\n{plan}"
        assert "SCAN runs" not in plan
        assert "Seq Scan" not in plan
