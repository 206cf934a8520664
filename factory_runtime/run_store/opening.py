"""Opening a run store by its URL."""

from __future__ import annotations

from factory_runtime.domain.errors import StorageFullError
from factory_runtime.run_store.engines import make_folder, open_engine, parse_url, place_of
from factory_runtime.run_store.schema import ensure_schema
from factory_runtime.run_store.store import SqlRunStore
from factory_runtime.run_store.translate import translated


def open_run_store(url: str) -> SqlRunStore:
    """The run store at a SQLAlchemy URL, its schema brought up to date where it is behind.

    An SQLite file and its folder are made if they are not there. A PostgreSQL database must exist.

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
    engine = open_engine(parsed)
    try:
        with translated(place):
            ensure_schema(engine, place)
    except BaseException:
        engine.dispose()
        raise
    return SqlRunStore(engine, place)
