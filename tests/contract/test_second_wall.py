"""With the query layer's wall between tenants taken away, PostgreSQL's own stands alone."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest
from sqlalchemy import ColumnElement, String, and_, bindparam, literal_column, update

from factory_runtime.domain.errors import CorruptStoreError, FactoryError
from factory_runtime.ports import JobKey
from factory_runtime.run_store import SqlRunStore, statements
from factory_runtime.run_store.records import Record
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.run_store.tables import topic_waits
from tests.builders import TENANT, after
from tests.two_tenants import (
    BESIDE,
    CONFLICT,
    EMPTY,
    INTRUDER,
    JOB,
    NOT_FOUND,
    ORDER,
    RUN,
    SMUGGLED,
    WAIT,
    everything_of,
    settle,
)

_BESIDE_FIRST_WALL = {
    "count_reuse",
    "kept_digests",
    "list_letter_groups",
    "named_by_living_runs",
    "oldest_attempt",
    "referred_digests",
    "unadopted_memories",
    "unindexed_line",
    "unused_vectors",
}
"""They count and group, which the query layer cannot, and name their tenant themselves."""

_PREPARED = ("changing", "finding", "locking", "inserting", "appending")


@pytest.fixture
def without_first_wall(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """No statement names its tenant any more, and rows of any are taken."""

    def of_key(record: Record[Any], key: Sequence[str]) -> ColumnElement[bool]:
        columns = record.table.c
        any_tenant = bindparam("key_tenant_id", type_=String).is_not(None)
        same = (columns[name] == bindparam(f"key_{name}", type_=columns[name].type) for name in key)
        return and_(any_tenant, *same)

    def all_of(self: TenantRows, record: Record[Any], where: Sequence[Any]) -> ColumnElement[bool]:
        del self, record
        return and_(True, *where)

    def take(self: TenantRows, tenant_id: str) -> None:
        del self, tenant_id

    def forget() -> None:
        for name in _PREPARED:
            getattr(statements, name).cache_clear()

    monkeypatch.setattr(statements, "_of_key", of_key)
    monkeypatch.setattr(TenantRows, "_mine", all_of)
    monkeypatch.setattr(TenantRows, "_refuse_tenant", take)
    forget()
    yield
    forget()


@pytest.mark.usefixtures("without_first_wall")
def test_without_any_wall_a_tenant_sees_all_of_another(sqlite_store: SqlRunStore) -> None:
    settle(sqlite_store)
    with sqlite_store.begin(INTRUDER) as tx:
        assert {name for name, call in EMPTY.items() if not call(tx)} == _BESIDE_FIRST_WALL
        assert tx.get_run(RUN.id) == RUN


@pytest.mark.service
@pytest.mark.usefixtures("without_first_wall")
def test_postgresql_alone_shows_a_tenant_nothing_of_another(postgres_store: SqlRunStore) -> None:
    settle(postgres_store)
    assert all(everything_of(postgres_store)), "there is something to see for the tenant itself"
    with postgres_store.begin(INTRUDER) as tx:
        assert [name for name, call in EMPTY.items() if call(tx)] == []


@pytest.mark.service
@pytest.mark.usefixtures("without_first_wall")
def test_postgresql_alone_lets_a_tenant_change_nothing_of_another(
    postgres_store: SqlRunStore,
) -> None:
    settle(postgres_store)
    before = everything_of(postgres_store)
    for call in (*NOT_FOUND.values(), *CONFLICT.values(), *SMUGGLED.values()):
        # What is refused is refused in more than one way: only the rows are the other tenant's.
        with pytest.raises(FactoryError), postgres_store.begin(INTRUDER) as tx:
            call(tx)
    for call in BESIDE.values():
        with postgres_store.begin(INTRUDER) as tx:
            call(tx)
    assert everything_of(postgres_store) == before


@pytest.mark.service
@pytest.mark.usefixtures("without_first_wall")
def test_postgresql_alone_lets_a_tenant_hold_nothing_of_another(
    postgres_store: SqlRunStore,
) -> None:
    settle(postgres_store)
    with postgres_store.begin(INTRUDER) as intruder:
        assert not BESIDE["lock_breaker"](intruder)
        assert not BESIDE["wake_job"](intruder)
        with pytest.raises(FactoryError):
            intruder.lock_run(RUN.id)
        with postgres_store.begin(TENANT) as tx:  # where it waited, it would be refused in the end
            assert tx.lock_run(RUN.id) == RUN
            assert tx.lock_redrive_order(ORDER.id) == ORDER
            assert tx.renew_lock("cache", "ada", after(70))


@pytest.mark.service
@pytest.mark.usefixtures("without_first_wall")
def test_who_looks_at_a_line_of_all_tenants_is_behind_the_wall_again(
    postgres_store: SqlRunStore,
) -> None:
    settle(postgres_store)
    with postgres_store.begin(INTRUDER) as tx:
        topic = tx.lock_topic(JOB.type)
        assert tx.list_jobs(RUN.id) == ()
        assert topic.at_work() == (JobKey(TENANT, RUN.id, JOB.step),)
        assert topic.waits(after(0)) == (WAIT,)
        topic.serve(TENANT, 2.0)
        assert tx.list_topic_waits(RUN.id) == ()


@pytest.mark.service
@pytest.mark.usefixtures("without_first_wall")
def test_who_fails_in_such_a_look_is_behind_the_wall_again(postgres_store: SqlRunStore) -> None:
    settle(postgres_store)
    with postgres_store.engine.begin() as connection:
        connection.execute(update(topic_waits).values(priority=literal_column("9")))
    with postgres_store.begin(INTRUDER) as tx:
        topic = tx.lock_topic(JOB.type)
        with pytest.raises(CorruptStoreError):
            topic.waits(after(0))
        assert tx.list_jobs(RUN.id) == ()
