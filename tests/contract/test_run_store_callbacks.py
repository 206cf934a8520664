"""Who is told of a run's end: what is read then does not grow with what is told no more."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import event

from factory_runtime.domain.callback import MOST_OF_RUN, MOST_OF_TENANT, Callback
from factory_runtime.domain.errors import InputError
from factory_runtime.ports import RunStore
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services import callbacks as adding
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.callbacks import Callbacks
from factory_runtime.services.secret_box import open_secret_box
from tests.builders import NOON, TENANT, a_run, after
from tests.small_factory import SettableClock

RUN = a_run(id="run-1", project_id="shop")
OTHER = a_run(id="run-2", project_id="shop")
OF_TENANT = Callback(TENANT, "of-tenant", "https://a.example", "sealed", NOON, "ada")


def with_all(store: RunStore, *callbacks: Callback) -> None:
    with store.begin(TENANT) as tx:
        tx.add_run(RUN)
        tx.add_run(OTHER)
        for callback in callbacks:
            tx.add_callback(callback)


def test_an_end_is_told_to_those_of_its_run_its_project_and_its_tenant(run_store: RunStore):
    of_project = replace(OF_TENANT, id="of-project", project_id="shop", created_at=after(1))
    of_run = replace(OF_TENANT, id="of-run", run_id=RUN.id, created_at=after(-1))
    with_all(
        run_store,
        OF_TENANT,
        of_project,
        of_run,
        replace(OF_TENANT, id="elsewhere", project_id="books"),
        replace(OF_TENANT, id="of-other", run_id=OTHER.id),
        *(replace(one, id=f"no-{one.id}", disabled_at=NOON) for one in (OF_TENANT, of_project)),
        replace(of_run, id="no-run", disabled_at=NOON),
    )
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.list_callbacks_of(RUN) == (OF_TENANT, of_project, of_run)
        assert tx.count_callbacks() == 3  # of more than one run


def test_no_end_is_told_to_more_than_a_tenant_and_a_run_may_have(sqlite_store: RunStore):
    many = [replace(OF_TENANT, id=f"call-{n:03}", created_at=after(n)) for n in range(110)]
    own = [replace(OF_TENANT, id=f"own-{n}", run_id=RUN.id) for n in range(9)]
    with_all(sqlite_store, *many, *own)
    with sqlite_store.begin(TENANT, read_only=True) as tx:
        told = tx.list_callbacks_of(RUN)
    assert told == (*many[:MOST_OF_TENANT], *own[:MOST_OF_RUN])


def test_what_is_read_at_an_end_does_not_grow_with_other_runs(sqlite_store: SqlRunStore):
    plans = list[str]()

    def explain(_: object, cursor: Any, statement: str, values: Any, *__: object) -> None:
        if "FROM callbacks" in statement:
            plans.append(str(cursor.execute("EXPLAIN QUERY PLAN " + statement, values).fetchone()))

    with sqlite_store.begin(TENANT, read_only=True) as tx:
        event.listen(sqlite_store.engine, "before_cursor_execute", explain)
        tx.list_callbacks_of(RUN)
    assert len(plans) == 2
    assert all("ix_callbacks_run_id (tenant_id=? AND run_id=?)" in plan for plan in plans)


@pytest.mark.service
def test_of_two_who_add_the_last_callback_at_once_one_does(
    postgres_store: SqlRunStore, monkeypatch: pytest.MonkeyPatch
):
    removed = [replace(OF_TENANT, id=f"no-{n}", disabled_at=NOON) for n in range(5)]
    many = [replace(OF_TENANT, id=f"call-{n}") for n in range(MOST_OF_TENANT - 1)]
    with_all(postgres_store, *removed, *many)
    box = open_secret_box([Fernet.generate_key().decode()], None)
    callbacks = Callbacks(postgres_store, SettableClock(), (), lambda: box)
    others = list[Future[Any]]()

    def meanwhile(*entry: Any) -> None:
        """Between the first one's writing and its commit, the other one comes."""
        monkeypatch.setattr(adding, "leave_audit", leave_audit)
        others.append(pool.submit(callbacks.add, TENANT, "bob", "https://b.example"))
        while not (others[0].done() or is_waiting(postgres_store)):
            time.sleep(0.005)
        leave_audit(*entry)

    monkeypatch.setattr(adding, "leave_audit", meanwhile)
    with ThreadPoolExecutor(1) as pool:
        callbacks.add(TENANT, "ada", "https://a.example")
        with pytest.raises(InputError, match="100 callbacks already"):
            others[0].result()


def is_waiting(store: SqlRunStore) -> bool:
    """Whether some transaction of the store's waits for another."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND"
    with store.engine.connect() as connection:
        return connection.exec_driver_sql(f"{waiting} wait_event_type = 'Lock'").scalar_one() > 0
