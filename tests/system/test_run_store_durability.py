"""Which commits wait for the disk: those that something outside may follow."""

from __future__ import annotations

from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.engines import for_writing
from factory_runtime.run_store.transaction import SqlTransaction
from tests.builders import TENANT


def waits_for_the_disk(store: SqlRunStore, tx: SqlTransaction) -> bool:
    """What the database itself says, within the transaction."""
    connection = tx._rows._connection  # pyright: ignore[reportPrivateUsage] - nothing else knows
    if store.engine.dialect.name == "sqlite":
        return connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    return connection.exec_driver_sql("SHOW synchronous_commit").scalar() != "off"


def test_a_commit_waits_for_the_disk_unless_it_says_otherwise(
    database_store: SqlRunStore,
) -> None:
    server_waits = True
    if database_store.engine.dialect.name == "postgresql":
        with database_store.engine.connect() as connection:  # the tests' server may not
            shown = connection.exec_driver_sql("SHOW synchronous_commit").scalar()
            server_waits = shown != "off"
    for durable in (True, False, True, False, False, True):
        with database_store.begin(TENANT, durable=durable) as tx:
            waited = waits_for_the_disk(database_store, tx)
        assert waited == (durable and server_waits)


def test_an_upgrade_of_the_schema_waits_for_the_disk(sqlite_url: str) -> None:
    from factory_runtime.run_store.engines import open_engine, parse_url

    engine = open_engine(parse_url(sqlite_url))
    with engine.connect() as connection, for_writing(connection).begin():
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()
