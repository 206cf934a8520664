"""Database engines: what each product needs to keep its promises to many threads and processes."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    StaticPool,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from factory_runtime.domain.errors import PermanentError, SettingsError

LOCK_WAIT = timedelta(seconds=30)
"""How long a writer waits for another one before it gives up."""

STATEMENT_WAIT = timedelta(seconds=30)
"""How long PostgreSQL works on one statement for one tenant, unless the settings say otherwise."""

_OVER_ALL = 20
"""How many times as long a statement may take that looks over all tenants."""

CONNECTIONS = 30
"""To PostgreSQL, of one process, unless the settings say otherwise."""

SQLITE_CONNECTIONS = 55
"""They are open files of this process: nobody else has fewer for it."""

_SQLITE_KEPT = 5
_WRITES = "factory_writes"
_DURABLE = "factory_durable"
_STATEMENT_WAIT = "factory_statement_wait"
_OVERWRITES = "factory_overwrites"
_LOG_WAIT_MILLISECONDS = 1000


def parse_url(text: str) -> URL:
    """The URL with the driver we use.

    Raises:
        SettingsError: it is not a URL, or of a database that we do not know.
    """
    hint = "use sqlite:///PATH or postgresql://USER@HOST/DATABASE"
    try:
        url = make_url(text)
    except ArgumentError as exc:
        raise SettingsError("the run store's URL cannot be read", hint=hint) from exc
    match url.get_backend_name():
        case "sqlite" if url.database not in {None, "", ":memory:"}:
            return url.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
        case other:
            raise SettingsError(f"no run store can be kept in {other}", hint=hint)


def place_of(url: URL) -> str:
    """What to call the database in messages: a file, or host and name; never a password."""
    if url.get_backend_name() == "sqlite":
        return sqlite_file(url)
    host = url.host or url.query.get("host") or "localhost"
    port = f":{url.port}" if url.port else ""
    return f"{host}{port}/{url.database or ''}"


def sqlite_file(url: URL) -> str:
    """The path of an SQLite database, without the decorations of a ``file:`` URI."""
    return (url.database or "").removeprefix("file:")


def open_engine(
    url: URL, connections: int = CONNECTIONS, statement_wait: timedelta = STATEMENT_WAIT
) -> Engine:
    """An engine whose connections are set up for us. Nothing is connected yet.

    Args:
        url: of the database.
        connections: that there may be to PostgreSQL at once; a third of them is kept open.
        statement_wait: what PostgreSQL gives one statement for one tenant; those over all tenants,
            of sweeps and dispatchers, have twenty times as long.

    Raises:
        SettingsError: its driver is not installed.
    """
    try:
        if url.get_backend_name() == "sqlite":
            sizes = {"pool_size": _SQLITE_KEPT, "max_overflow": SQLITE_CONNECTIONS - _SQLITE_KEPT}
            return _sqlite(create_engine(url, connect_args=_SQLITE_ARGUMENTS, **sizes))
        return _postgresql(url, connections, statement_wait)
    except (NoSuchModuleError, ImportError) as exc:
        raise SettingsError(f"the driver of {url.drivername} is not installed") from exc


def open_memory_engine() -> Engine:
    """One SQLite database that lives in this process only, on one connection."""
    arguments = {**_SQLITE_ARGUMENTS, "check_same_thread": False}
    return _sqlite(create_engine("sqlite://", connect_args=arguments, poolclass=StaticPool))


def for_writing(connection: Connection, *, durable: bool = True) -> Connection:
    """Mark a connection before its transaction begins: it takes the right to write at once.

    A transaction that begins by reading and writes later is refused by SQLite as soon as anybody
    else wrote in between, however long it is ready to wait.

    On SQLite, a commit that need not be durable does not wait for the disk: the next one that does
    takes it along. PostgreSQL always waits. What it has answered without is lost with its process,
    and an executor that outlives the server would go on from what nobody knows of any more.
    """
    return connection.execution_options(**{_WRITES: True, _DURABLE: durable})


def overwrite_deleted(connection: Connection) -> None:
    """Have SQLite write zeros over what this transaction deletes: it would only be hidden.

    PostgreSQL leaves that to its vacuum.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
        connection.info[_OVERWRITES] = True


def after_commit(connection: Connection) -> None:
    """Where something was overwritten, empty the log of what was written lately of it as well.

    Not where somebody goes on reading for so long: then it stands there until others write there.
    """
    if connection.info.pop(_OVERWRITES, False):
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA secure_delete = OFF")
        raw.execute(f"PRAGMA busy_timeout = {_LOG_WAIT_MILLISECONDS}")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        raw.execute(f"PRAGMA busy_timeout = {int(LOCK_WAIT.total_seconds() * 1000)}")


def refuse_if_broken(connection: Connection) -> None:
    """Before a commit: the database must not have given the transaction up already.

    PostgreSQL answers a commit after a refused statement by rolling back, without a word; SQLite
    rolls back by itself when it cannot write, and takes what follows one by one.

    Raises:
        PermanentError: somebody caught the database's refusal and went on.
    """
    if not goes_on(connection):
        raise PermanentError("a transaction went on after the database had given it up")


def goes_on(connection: Connection) -> bool:
    """Whether the database has not given the transaction up."""
    raw: Any = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        return raw.in_transaction
    return raw.info.transaction_status.name != "INERROR"


_SQLITE_ARGUMENTS: dict[str, Any] = {
    "isolation_level": None,  # we say BEGIN ourselves
    "timeout": LOCK_WAIT.total_seconds(),
}


def _sqlite(engine: Engine) -> Engine:
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        writes = options.get(_WRITES, False)
        if writes:
            wanted = "FULL" if options.get(_DURABLE, True) else "NORMAL"
            if connection.info.get(_DURABLE) != wanted:  # not to be changed in a transaction
                connection.exec_driver_sql(f"PRAGMA synchronous = {wanted}")
                connection.info[_DURABLE] = wanted
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


_CHECK_SECONDS = 2

_POSTGRESQL_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 10,
    # A server that is gone without a word is noticed in half a minute, not in hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": int(LOCK_WAIT.total_seconds() * 1000),
}


def _postgresql(url: URL, connections: int, statement_wait: timedelta) -> Engine:
    kept = max(1, connections // 3)
    engine = create_engine(
        url,
        connect_args=_POSTGRESQL_ARGUMENTS,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=kept,
        max_overflow=connections - kept,
        execution_options={_STATEMENT_WAIT: statement_wait},
    )

    def set_up(connection: Any, _: object) -> None:
        milliseconds = int(LOCK_WAIT.total_seconds() * 1000)
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {milliseconds}")
            cursor.execute(f"SET statement_timeout = {_milliseconds(statement_wait * _OVER_ALL)}")
            # A process that is stopped in a transaction does not keep its locks for as long.
            cursor.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
        connection.commit()

    event.listen(engine, "connect", set_up)
    return engine


def statement_milliseconds(connection: Connection) -> str:
    """What one statement for one tenant has, as PostgreSQL's ``statement_timeout``."""
    return str(_milliseconds(connection.get_execution_options()[_STATEMENT_WAIT]))


def _milliseconds(time: timedelta) -> int:
    return max(1, int(time.total_seconds() * 1000))  # 0 would be for ever


def engine_beside(engine: Engine) -> Engine:
    """One of the same database whose connections are new and not kept; of SQLite's, any will do.

    It finds out sooner that no server answers than somebody wants to who has work to do.
    """
    if engine.dialect.name == "sqlite":
        return engine
    arguments = {**_POSTGRESQL_ARGUMENTS, "connect_timeout": _CHECK_SECONDS}
    return create_engine(engine.url, connect_args=arguments, poolclass=NullPool)


def make_folder(url: URL) -> None:
    """Make the folder of an SQLite file, if it is not there.

    Raises:
        OSError: it cannot be made.
    """
    Path(sqlite_file(url)).parent.mkdir(parents=True, exist_ok=True)
