"""Opening a run store by its URL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from factory_runtime.domain.errors import StorageFullError
from factory_runtime.run_store.engines import (
    CONNECTIONS,
    STATEMENT_WAIT,
    make_folder,
    open_engine,
    parse_url,
    place_of,
    sqlite_file,
)
from factory_runtime.run_store.schema import HEAD_REVISION, ensure_schema, find_revision
from factory_runtime.run_store.store import SqlRunStore
from factory_runtime.run_store.translate import translated


@dataclass(frozen=True, slots=True)
class Schema:
    """Of a database: the revision it has, None where there is nothing yet, and the one it needs."""

    found: str | None
    needed: str = HEAD_REVISION

    @property
    def is_older(self) -> bool:
        return self.found is not None and self.found < self.needed

    @property
    def is_newer(self) -> bool:
        return self.found is not None and self.found > self.needed


def look_at_schema(url: str) -> Schema:
    """Which schema the run store at a URL has: unlike opening it, this changes nothing.

    Raises:
        SettingsError, StoreUnavailableError, CorruptStoreError: as ``open_run_store``.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(sqlite_file(parsed)).exists():
        return Schema(None)
    engine, place = open_engine(parsed), place_of(parsed)
    try:
        with translated(place), engine.connect() as connection:
            return Schema(find_revision(connection, place))
    finally:
        engine.dispose()


def open_run_store(
    url: str, connections: int = CONNECTIONS, statement_wait: timedelta = STATEMENT_WAIT
) -> SqlRunStore:
    """The run store at a SQLAlchemy URL, its schema brought up to date where it is behind.

    An SQLite file and its folder are made if they are not there. A PostgreSQL database must exist,
    and is given no more connections than these at once, and one statement no longer than this:
    ``open_engine`` has more of it.

    Raises:
        SettingsError: the URL is none, or of a database that we do not know.
        StoreUnavailableError: the database does not answer or cannot be opened.
        StorageFullError: there is no room to make it, or the place is read-only.
        CorruptStoreError: it is damaged, not one of ours, or newer than this code.
    """
    parsed = parse_url(url)
    place = place_of(parsed)
    if parsed.get_backend_name() == "sqlite":
        try:
            make_folder(parsed)
        except OSError as exc:
            raise StorageFullError(
                f"cannot make the folder of {place}: {exc.strerror}",
                hint="set FACTORY_HOME to a folder that can be written",
            ) from exc
    engine = open_engine(parsed, connections, statement_wait)
    try:
        with translated(place):
            ensure_schema(engine, place)
    except BaseException:
        engine.dispose()
        raise
    return SqlRunStore(engine, place)
