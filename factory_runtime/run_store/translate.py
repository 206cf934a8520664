"""What a database's error means to the core: sorted by what to do next, in words that help."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from factory_runtime.domain.errors import (
    CorruptStoreError,
    FactoryError,
    InputError,
    NotFoundError,
    PermanentError,
    StaleVersionError,
    StoreFullError,
    StoreUnavailableError,
)

_MAKE_ROOM = "make room or make it writable, then try again; nothing was half-written"
_RESTORE = "restore a backup, or move it away to begin with an empty run store"
_CHECK = "check that it is there and reachable, then try again"


@contextmanager
def translated(place: str) -> Generator[None]:
    """Turn what the database raises into the core's errors; ``place`` names it to people."""
    try:
        yield
    except SQLAlchemyError as exc:
        raise _meaning(exc, place) from exc
    except sqlite3.Error as exc:
        raise _meaning_in_sqlite(exc, place) from exc
    except OverflowError as exc:
        raise InputError(f"a number does not fit the run store: {exc}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        # Columns are decoded while rows are fetched: what cannot be read was not written by us.
        raise CorruptStoreError(f"{place} holds a damaged value: {exc}", hint=_RESTORE) from exc


def is_duplicate(exc: IntegrityError) -> bool:
    """Whether a row of the same key stands already (not: whether it points at nothing)."""
    code = getattr(exc.orig, "sqlite_errorcode", None)
    if code is not None:
        return code in {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE}
    return getattr(exc.orig, "sqlstate", None) == "23505"


def is_dangling(exc: IntegrityError) -> bool:
    """Whether the row belongs to a run or job that is not there."""
    code = getattr(exc.orig, "sqlite_errorcode", None)
    if code is not None:
        return code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    return getattr(exc.orig, "sqlstate", None) == "23503"


def _meaning(exc: SQLAlchemyError, place: str) -> FactoryError:
    if isinstance(exc, IntegrityError):
        return _meaning_of_constraint(exc)
    if isinstance(exc, DBAPIError):
        if isinstance(exc.orig, sqlite3.Error):
            return _meaning_in_sqlite(exc.orig, place)
        return _meaning_in_postgresql(exc, place)
    if isinstance(exc, StatementError):  # a value that no column type could turn into SQL
        return InputError(f"the run store cannot hold this value: {exc.orig}")
    return StoreUnavailableError(f"the run store {place} does not answer: {exc}", hint=_CHECK)


def _meaning_of_constraint(exc: IntegrityError) -> FactoryError:
    if is_duplicate(exc):
        return StaleVersionError("somebody else recorded this first", hint="read it again")
    if is_dangling(exc):
        return NotFoundError("the run or job that this belongs to does not exist")
    return InputError(f"the run store cannot hold this value: {exc.orig}")


def _meaning_in_sqlite(exc: sqlite3.Error, place: str) -> FactoryError:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}:
        return StoreFullError(f"cannot write to {place}: {exc}", hint=_MAKE_ROOM)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return CorruptStoreError(f"{place} is damaged: {exc}", hint=_RESTORE)
    if code == sqlite3.SQLITE_ERROR:  # SQL that our tables would answer: they are not ours
        return CorruptStoreError(f"{place} is not a run store of ours: {exc}", hint=_RESTORE)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreUnavailableError(
            f"{place} has been locked for too long: {exc}",
            hint="another process holds it; look for one that hangs, then try again",
        )
    return StoreUnavailableError(f"cannot use {place}: {exc}", hint=_CHECK)


def _meaning_in_postgresql(exc: DBAPIError, place: str) -> FactoryError:
    state = getattr(exc.orig, "sqlstate", None) or ""
    text = str(exc.orig).strip()
    if state in {"53100", "25006"}:  # disk full, read-only
        return StoreFullError(f"cannot write to {place}: {text}", hint=_MAKE_ROOM)
    # Damaged, or other tables than ours. XX000 is neither: poolers in between say it of a server
    # that they cannot reach.
    if state in {"XX001", "XX002"} or (state.startswith("42") and state != "42501"):
        return CorruptStoreError(f"{place} is damaged or not ours: {text}", hint=_RESTORE)
    if state == "42501" and _is_of_a_wall(exc.orig):
        return PermanentError(f"{place} has walls between tenants, and this is behind one: {text}")
    if state.startswith("22"):
        return InputError(f"the run store cannot hold this value: {text}")
    # Deadlock, serialization, lock timeout, statement timeout.
    if state.startswith("40") or state in {"55P03", "57014"}:
        return StoreUnavailableError(f"{place} was too busy: {text}", hint="try again")
    return StoreUnavailableError(f"the run store {place} does not answer: {text}", hint=_CHECK)


def _is_of_a_wall(error: Any) -> bool:
    """Whether a policy of a table has refused a row: not by the words, which come in languages."""
    return error.diag.source_function == "ExecWithCheckOptions"
