"""Which schema a database has, and how it gets the one this code needs."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

from factory_runtime.domain.errors import CorruptStoreError
from factory_runtime.run_store.engines import LOCK_WAIT, for_writing, sqlite_file
from factory_runtime.run_store.tables import metadata

HEAD_REVISION = "0019"
"""The newest migration. A constant, so that opening a store does not import Alembic."""

_SHORT_WAIT = timedelta(seconds=0.2)
"""The server looks for those who wait for each other after a second."""

_ADVISORY_LOCK = 0x_FAC7_0123
_VERSION_TABLE = "alembic_version"


def find_revision(connection: Connection, place: str) -> str | None:
    """The revision of the database's schema; None where it is empty.

    Raises:
        CorruptStoreError: it has tables, but they are not ours.
    """
    names = set(inspect(connection).get_table_names())
    if _VERSION_TABLE in names and (revision := read_revision(connection)) is not None:
        return revision
    if names - {_VERSION_TABLE}:
        raise CorruptStoreError(
            f"{place} belongs to something else: it has tables such as {min(names)}, not ours",
            hint="give the run store a database of its own (FACTORY_DATABASE_URL)",
        )
    return None


def read_revision(connection: Connection) -> str | None:
    """The revision, of a database that has had one."""
    revision = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()  # noqa: S608
    return None if revision is None else str(revision)


def ensure_schema(engine: Engine, place: str) -> None:
    """Bring the database to ``HEAD_REVISION``; any number of processes may try at once.

    Raises:
        CorruptStoreError: its tables are not ours, or newer than this code.
    """
    with engine.connect() as connection:
        if find_revision(connection, place) == HEAD_REVISION:
            return
    with _one_at_a_time(engine), engine.connect() as connection:
        _begin_alone(connection)
        revision = find_revision(connection, place)
        if revision != HEAD_REVISION:
            if connection.dialect.name == "postgresql":
                _hold_tables(connection)
            _upgrade(connection, revision, place)
        connection.commit()


@contextmanager
def _one_at_a_time(engine: Engine) -> Generator[None]:
    """On SQLite, lock the folder: two processes cannot both turn a new file into a WAL one."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        yield
        return
    folder = os.open(Path(sqlite_file(engine.url)).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None  # noqa: S101 - a connection in use has one
            # Not within a transaction. It stays with the file.
            raw.execute("PRAGMA journal_mode = WAL").close()
        yield
    finally:
        os.close(folder)


def _begin_alone(connection: Connection) -> None:
    """The whole upgrade is one transaction: a process killed in it leaves nothing behind."""
    for_writing(connection).begin()
    if connection.dialect.name == "postgresql":
        # However many rows a migration has to go over.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def _hold_tables(connection: Connection) -> None:
    """Have all tables before one is changed: a release that is at work goes on until then.

    It takes them in an order of its own. Two that wait for each other would be found out by the
    server, which gives up whoever waited for the shorter time: us, once and again. So we let go.
    """
    found = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
    if not found:
        return
    until = time.monotonic() + LOCK_WAIT.total_seconds()
    while True:
        try:
            with connection.begin_nested():
                _wait_for_locks(connection, _SHORT_WAIT)
                connection.execute(text(f"LOCK TABLE {', '.join(found)} IN ACCESS EXCLUSIVE MODE"))
                _wait_for_locks(connection, LOCK_WAIT)
        except OperationalError as exc:
            if getattr(exc.orig, "sqlstate", None) != "55P03" or time.monotonic() > until:
                raise
            time.sleep(_SHORT_WAIT.total_seconds())
        else:
            return


def _wait_for_locks(connection: Connection, most: timedelta) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = {int(most.total_seconds() * 1000)}"))


def _upgrade(connection: Connection, revision: str | None, place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "factory_runtime.run_store:migrations")
    if revision is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(revision)
        except CommandError as exc:
            raise CorruptStoreError(
                f"{place} has the schema {revision}, which this version does not know",
                hint=f"a newer factory made it (this one knows {HEAD_REVISION}): upgrade it here",
            ) from exc
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD_REVISION)
