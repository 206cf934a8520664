"""Which commits wait for the disk: those that something outside may follow."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.run_store.engines import for_writing, open_engine, parse_url
from factory_runtime.run_store.transaction import SqlTransaction
from tests.builders import TENANT


def waits_for_the_disk(store: SqlRunStore, tx: SqlTransaction) -> bool:
    """What the database itself says, within the transaction."""
    connection = tx._rows._connection  # pyright: ignore[reportPrivateUsage] - nothing else knows
    if store.engine.dialect.name == "sqlite":
        return connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    return connection.exec_driver_sql("SHOW synchronous_commit").scalar() != "off"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def careful_store(request: pytest.FixtureRequest) -> Generator[SqlRunStore]:
    """A store whose server waits for the disk; the tests' own is told not to."""
    if request.param == "sqlite":
        url = str(request.getfixturevalue("sqlite_url"))
    else:
        url = str(request.getfixturevalue("own_postgres_url"))
        engine = open_engine(parse_url(url))
        with engine.begin() as connection:
            name = connection.exec_driver_sql("SELECT current_database()").scalar()
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = on')
        engine.dispose()
    store = open_run_store(url)
    yield store
    store.close()


def test_a_commit_waits_for_the_disk_unless_the_system_keeps_it_anyway(
    careful_store: SqlRunStore,
) -> None:
    # What an SQLite process wrote is the system's to keep; PostgreSQL keeps it to itself.
    always = careful_store.engine.dialect.name == "postgresql"
    for durable in (True, False, True, False, False, True):
        with careful_store.begin(TENANT, durable=durable) as tx:
            assert waits_for_the_disk(careful_store, tx) == (durable or always)


def test_an_upgrade_of_the_schema_waits_for_the_disk(sqlite_url: str) -> None:
    engine = open_engine(parse_url(sqlite_url))
    with engine.connect() as connection, for_writing(connection).begin():
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()
