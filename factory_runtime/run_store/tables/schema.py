"""What all tables share: their metadata, the kinds of their columns, and how they are indexed.

The few queries that look over all tenants (dispatcher, outbox, sweep) have indexes of their own.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Index, MetaData, Table

from factory_runtime.run_store.column_types import CleanText

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)

TENANT = CleanText(64)

ID = CleanText(64)

STEP = CleanText(200)

KEY = CleanText(300)

NAME = CleanText(200)

DIGEST = CleanText(64)

URI = CleanText(2000)

VERSION = CleanText(64)

OUTSIDE_ID = CleanText(200)


def found_by(table: Table, *columns: str, then: str | None = None) -> None:
    """An index for each column that is often empty, over the rows where it is not.

    ``then`` is the column in whose order pages of them are read.
    """
    for name in columns:
        column = table.c[name]
        given = column.is_not(None)
        Index(
            f"ix_{table.name}_{name}",
            table.c.tenant_id,
            column,
            *(() if then is None else (table.c[then],)),
            sqlite_where=given,
            postgresql_where=given,
        )


def for_all_tenants(name: str, *columns: Column[Any], where: ColumnElement[bool]) -> None:
    """An index of the dispatcher or the sweep, over the few rows they look for."""
    Index(name, *columns, sqlite_where=where, postgresql_where=where)
