"""Statements about one table, of which every one names the tenant.

Building a statement costs more than SQLite needs to carry it out. These are built once for each
shape, and given their values when they are executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from factory_runtime.run_store.records import Record


@lru_cache(maxsize=512)
def changing(record: Record[Any], changed: tuple[str, ...], key: tuple[str, ...]) -> Update:
    """Give the rows of a key other values in these columns."""
    columns = record.table.c
    values = {name: bindparam(f"new_{name}", type_=columns[name].type) for name in changed}
    return update(record.table).where(_of_key(record, key)).values(values)


@lru_cache(maxsize=64)
def finding(record: Record[Any], key: tuple[str, ...]) -> Select[Any]:
    """One row of a key."""
    return select(*record.columns).where(_of_key(record, key)).limit(1)


@lru_cache(maxsize=64)
def locking(record: Record[Any], key: tuple[str, ...]) -> Select[Any]:
    """Hold the row of a key; rows that point at it may still be inserted."""
    return select(record.columns[0]).where(_of_key(record, key)).with_for_update(key_share=True)


@lru_cache(maxsize=64)
def inserting(record: Record[Any]) -> Insert:
    """Rows as they are."""
    return insert(record.table)


@lru_cache(maxsize=64)
def inserting_as_json(record: Record[Any], *, or_skip: bool) -> str:
    """For PostgreSQL: many rows are one statement of one parameter, prepared once.

    Row by row they are as many messages, and each costs both sides more than what is in it.
    """
    table, columns = record.table.name, ", ".join(column.name for column in record.columns)
    skipping = " ON CONFLICT DO NOTHING" if or_skip else ""
    return (
        f"INSERT INTO {table} ({columns}) SELECT {columns}"  # noqa: S608 - names of our own
        f" FROM json_populate_recordset(NULL::{table}, %s::json){skipping}"
    )


class _InsertAbsent(Insert):
    """Not refused and taken back: on PostgreSQL that would take a savepoint, and five messages.

    SQLAlchemy's own, of each database, is compiled anew whenever it is executed: for a millisecond.
    """

    inherit_cache = True


@compiles(_InsertAbsent)
def _written(statement: _InsertAbsent, compiler: SQLCompiler, **options: Any) -> str:
    written = str(compiler.visit_insert(statement, **options))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - not typed
    return f"{written} ON CONFLICT DO NOTHING"


@lru_cache(maxsize=64)
def inserting_absent(record: Record[Any]) -> Insert:
    """Likewise, but for those of which a row of the same key stands already."""
    return _InsertAbsent(record.table).execution_options(preserve_rowcount=True)


@lru_cache(maxsize=64)
def appending(record: Record[Any], number: str, within: str) -> Insert:
    """A row, its ``number`` one more than the greatest of those ``within`` the same."""
    greatest = select(func.max(record.table.c[number])).where(_of_key(record, (within,)))
    next_number = func.coalesce(greatest.scalar_subquery(), 0) + 1
    others = {
        column.name: bindparam(column.name, type_=column.type)
        for column in record.columns
        if column.name != number
    }
    return insert(record.table).values({**others, number: next_number})


def _of_key(record: Record[Any], key: Sequence[str]) -> ColumnElement[bool]:
    columns = record.table.c
    return and_(
        *(
            columns[name] == bindparam(f"key_{name}", type_=columns[name].type)
            for name in ("tenant_id", *key)
        )
    )
