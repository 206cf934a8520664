"""The wall between tenants: what one has recorded is not there for another."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event

from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    NotFoundError,
    PermanentError,
)
from factory_runtime.ports import RunStore, RunTransaction
from factory_runtime.run_store import SqlRunStore
from tests.builders import TENANT, a_run, after
from tests.two_tenants import (
    BESIDE,
    BREAKER,
    CONFLICT,
    EMPTY,
    GOT,
    INTRUDER,
    NOT_FOUND,
    ORDER,
    RUN,
    SMUGGLED,
    everything_of,
    settle,
)


@pytest.fixture
def store(run_store: RunStore) -> RunStore:
    """A store in which the first tenant has a row of every kind."""
    settle(run_store)
    return run_store


def test_every_method_of_the_transaction_is_tried_here() -> None:
    methods = {
        name
        for name, _ in inspect.getmembers(RunTransaction, inspect.isfunction)
        if not name.startswith("_")
    }
    tried = [*NOT_FOUND, *CONFLICT, *EMPTY, *BESIDE]
    assert sorted(methods) == sorted(tried)


def test_a_tenant_sees_nothing_of_another(store: RunStore) -> None:
    assert all(everything_of(store)), "there is something to see for the tenant itself"
    with store.begin(INTRUDER, read_only=True) as tx:
        for name, call in EMPTY.items():
            assert not call(tx), name


def test_a_tenant_cannot_touch_what_another_has(store: RunStore) -> None:
    before = everything_of(store)
    for call in NOT_FOUND.values():
        # A transaction each: on PostgreSQL a refused foreign key ends it.
        with pytest.raises(NotFoundError), store.begin(INTRUDER) as tx:
            call(tx)
    for call in CONFLICT.values():
        with pytest.raises(ConflictError), store.begin(INTRUDER) as tx:
            call(tx)
    for call in BESIDE.values():
        with store.begin(INTRUDER) as tx:
            call(tx)
    assert everything_of(store) == before


@pytest.mark.service
def test_a_tenant_does_not_hold_what_another_has(postgres_store: RunStore) -> None:
    settle(postgres_store)
    with postgres_store.begin(INTRUDER) as intruder:
        for name in ("lock_run", "lock_redrive_order", "touch_artifact"):
            with pytest.raises(NotFoundError):
                NOT_FOUND[name](intruder)
        for name in ("lock_breaker", "wake_job", "renew_leases", "renew_lock"):
            assert not BESIDE[name](intruder)
        with postgres_store.begin(TENANT) as tx:  # where it waited, it would be refused in the end
            assert tx.lock_run(RUN.id) == RUN
            assert tx.lock_redrive_order(ORDER.id) == ORDER
            assert tx.lock_breaker(BREAKER.host) == BREAKER
            assert tx.renew_lock("cache", "ada", after(70))


def test_a_foreign_row_cannot_be_told_from_none(store: RunStore) -> None:
    for call in (NOT_FOUND[name] for name in GOT):
        with store.begin(INTRUDER) as tx, pytest.raises(NotFoundError) as foreign_row:
            call(tx)
        with store.begin("nobody") as tx, pytest.raises(NotFoundError) as no_row:
            call(tx)
        assert str(foreign_row.value) == str(no_row.value)
        assert type(foreign_row.value) is type(no_row.value)


def test_every_statement_names_its_tenant(memory_store: SqlRunStore) -> None:
    over_all = {"lock_topic"}
    seen: list[str] = []

    def note(
        _c: object, _cursor: object, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        rows: list[Any] = parameters if many else [parameters]
        of_nothing = "WHERE 1!=1" in statement  # one of a list that is empty
        named = "tenant_id" in statement and all(INTRUDER in row for row in rows)
        if not named and not of_nothing:
            seen.append(statement)

    calls = {**NOT_FOUND, **CONFLICT, **EMPTY, **BESIDE}
    settle(memory_store)
    event.listen(memory_store.engine, "before_cursor_execute", note)
    for name in calls.keys() - over_all:
        with suppress(FactoryError), memory_store.begin(INTRUDER) as tx:
            calls[name](tx)
    assert set(seen) == {"BEGIN IMMEDIATE", "PRAGMA secure_delete = ON"}


def test_a_row_of_another_tenant_cannot_be_smuggled_in(store: RunStore) -> None:
    before = everything_of(store)
    for call in SMUGGLED.values():
        with pytest.raises(PermanentError, match="does not belong"), store.begin(INTRUDER) as tx:
            call(tx)
    assert everything_of(store) == before


def test_reads_that_are_shared_are_one_tenant_s_and_end_with_their_block(
    database_store: SqlRunStore,
):
    run = a_run()
    with database_store.sharing_reads(TENANT):
        with database_store.begin(TENANT, read_only=True) as first:
            pass
        with database_store.begin(TENANT, read_only=True) as second:
            assert second is first
        with database_store.begin("umbrella", read_only=True) as other:
            assert other is not first
        with database_store.begin(TENANT) as tx:
            tx.add_run(run)
    with database_store.begin(TENANT, read_only=True) as after:
        assert after is not first
        assert after.get_run(run.id) == run
