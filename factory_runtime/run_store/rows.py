"""The one way from a transaction to the tables: every statement made here names the tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    Row,
    Select,
    TypeDecorator,
    and_,
    delete,
    func,
    select,
    update,
)

from factory_runtime.domain.errors import InputError, PermanentError
from factory_runtime.run_store.engines import overwrite_deleted
from factory_runtime.run_store.records import Record, T
from factory_runtime.run_store.statements import (
    appending,
    changing,
    finding,
    inserting,
    inserting_absent,
    inserting_as_json,
    locking,
)
from factory_runtime.run_store.translate import translated

Condition = ColumnElement[bool]
Beyond = Callable[[], AbstractContextManager[None]]

_ROWS_AT_ONCE = 5000
"""Of one statement: as text they are some megabytes."""


class TenantRows:
    """The rows of one tenant, within one database transaction.

    Raises, from every method: what ``translated`` makes of the database's errors.
    """

    def __init__(
        self,
        connection: Connection,
        tenant_id: str,
        place: str,
        *,
        read_only: bool = False,
        beyond: Beyond = nullcontext,
    ) -> None:
        self.tenant_id = tenant_id
        self._beyond = beyond
        self._connection = connection
        self._place = place
        self._read_only = read_only
        self._held_back: dict[tuple[Record[Any], bool], list[dict[str, Any]]] = {}
        self._has_lost = False

    # reading

    def find(self, record: Record[T], **key: Any) -> T | None:
        """The row with these values, none of which is None; any of them, if it is no key."""
        query = finding(record, tuple(key))
        self.flush()
        with translated(self._place):
            row = self._connection.execute(query, self._bound(key)).mappings().first()
        return None if row is None else record.value_of(row)

    def list(
        self,
        record: Record[T],
        *where: Condition,
        order_by: Sequence[ColumnElement[Any]] = (),
        limit: int | None = None,
    ) -> tuple[T, ...]:
        if limit is not None and limit < 1:
            raise InputError(f"a limit is 1 or more, not {limit}")
        query = select(*record.columns).where(self._mine(record, where)).order_by(*order_by)
        if limit is not None:
            query = query.limit(limit)
        self.flush()
        with translated(self._place):
            return tuple(record.value_of(row) for row in self._connection.execute(query).mappings())

    def select(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """What a question finds that is none for whole values; it names the tenant itself."""
        self.flush()
        with translated(self._place):
            return self._connection.execute(query).all()

    def count(self, record: Record[Any], *where: Condition) -> int:
        query = select(func.count()).select_from(record.table).where(self._mine(record, where))
        self.flush()
        with translated(self._place):
            return self._connection.execute(query).scalar_one()

    @property
    def many_writers(self) -> bool:
        """Whether another transaction may write while this one does; on SQLite none can."""
        return self._connection.dialect.name != "sqlite"

    @property
    def everybody(self) -> tuple[Connection, str, Beyond]:
        """The connection, what its database is called, and in which block it sees all tenants."""
        self.flush()
        return self._connection, self._place, self._beyond

    def lock(self, record: Record[T], **key: Any) -> bool:
        """Hold the row until the transaction ends; False where there is none.

        SQLite has one writer at a time and needs no more. On PostgreSQL rows that point at this
        one may still be inserted.
        """
        self._refuse_if_read_only()
        query = locking(record, tuple(key))
        self.flush()
        with translated(self._place):
            return self._connection.execute(query, self._bound(key)).first() is not None

    def overwrite_deleted(self) -> None:
        """Leave nothing lying of what is deleted from now on."""
        self._refuse_if_read_only()
        self.flush()
        with translated(self._place):
            overwrite_deleted(self._connection)

    def same(self, record: Record[T], one: T, other: T, *, but_for: Sequence[str] = ()) -> bool:
        """Whether the two lie in the table alike: a list is then as good as a tuple."""
        dialect = self._connection.dialect
        return all(
            _stored(column, getattr(one, column.name), dialect)
            == _stored(column, getattr(other, column.name), dialect)
            for column in record.columns
            if column.name not in but_for
        )

    # writing

    def insert(self, record: Record[T], values: Iterable[T]) -> None:
        """All of them in one round, with others of the kind: at the latest with ``flush``.

        What is wrong with one is told then.
        """
        self._hold_back(record, values, or_skip=False)

    def insert_where_absent(self, record: Record[T], values: Iterable[T]) -> None:
        """Likewise, but for those of which a row of the same key stands already."""
        self._hold_back(record, values, or_skip=True)

    def flush(self) -> None:
        """Write what was held back: kinds in the order in which they first came.

        Raises:
            PermanentError: some of it could not be written before, and who was told went on.
        """
        if self._has_lost:
            raise PermanentError(
                "a row was refused in this transaction: it cannot go on without it"
            )
        held, self._held_back = self._held_back, {}
        self._has_lost = bool(held)
        for (record, or_skip), rows in held.items():
            with translated(self._place):
                self._insert_all(record, rows, or_skip=or_skip)
        self._has_lost = False

    def append(self, record: Record[T], value: T, number: str, within: str) -> None:
        """Insert the value, its ``number`` one more than the greatest of those ``within`` the same.

        Hold a lock on what it is within.
        """
        row = self._own(record, value)
        del row[number]
        bound = self._bound({within: row[within]})
        self._write(appending(record, number, within), {**row, **bound})

    def insert_if_absent(self, record: Record[T], value: T) -> bool:
        """False where a row of the same key stands already, also one committed just now."""
        row = self._own(record, value)
        return self._write(inserting_absent(record), row) == 1

    def update(self, record: Record[T], changes: Mapping[str, Any], *where: Condition) -> int:
        """How many rows were changed."""
        self._refuse_tenant(changes.get("tenant_id", self.tenant_id))
        record.check(changes)
        statement = update(record.table).where(self._mine(record, where)).values(changes)
        return self._write(statement)

    def change(self, record: Record[T], changes: Mapping[str, Any], **key: Any) -> int:
        """How many rows with these values were changed: ``update``, for what is done often."""
        self._refuse_tenant(changes.get("tenant_id", self.tenant_id))
        record.check(changes)
        statement = changing(record, tuple(changes), tuple(key))
        news = {f"new_{name}": value for name, value in changes.items()}
        return self._write(statement, {**news, **self._bound(key)})

    def delete(self, record: Record[T], *where: Condition) -> int:
        return self._write(delete(record.table).where(self._mine(record, where)))

    def put(
        self, record: Record[T], value: T, key: Sequence[str], keep: Sequence[str] = ()
    ) -> None:
        """Insert the value, or replace the row of the same key but for the columns to keep."""
        row = self._own(record, value)
        same = [record.table.c[name] == row[name] for name in key]
        changes = {name: field for name, field in row.items() if name not in {*key, *keep}}
        if not self.update(record, changes, *same) and not self.insert_if_absent(record, value):
            self.update(record, changes, *same)

    # the tenant's wall

    def _mine(self, record: Record[T], where: Sequence[Condition]) -> Condition:
        return and_(record.table.c.tenant_id == self.tenant_id, *where)

    def _bound(self, key: Mapping[str, Any]) -> dict[str, Any]:
        return {"key_tenant_id": self.tenant_id, **{f"key_{k}": v for k, v in key.items()}}

    def _own(self, record: Record[T], value: T) -> dict[str, Any]:
        row = record.row_of(value)
        self._refuse_tenant(row["tenant_id"])
        record.check(row)
        return row

    def _refuse_tenant(self, tenant_id: str) -> None:
        if tenant_id != self.tenant_id:
            raise PermanentError(
                f"a row of tenant {tenant_id} does not belong in a transaction of {self.tenant_id}"
            )

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise PermanentError("this transaction was begun to read only")

    def _hold_back(self, record: Record[T], values: Iterable[T], *, or_skip: bool) -> None:
        self._refuse_if_read_only()
        if rows := [self._own(record, value) for value in values]:
            self._held_back.setdefault((record, or_skip), []).extend(rows)

    def _insert_all(
        self, record: Record[Any], rows: Sequence[dict[str, Any]], *, or_skip: bool
    ) -> None:
        dialect = self._connection.dialect
        if dialect.name == "postgresql" and len(rows) > 1 and record.fits_json:
            statement = inserting_as_json(record, or_skip=or_skip)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                part = record.as_json(rows[start : start + _ROWS_AT_ONCE], dialect)
                self._connection.exec_driver_sql(statement, (part,))
        else:
            statement = inserting_absent(record) if or_skip else inserting(record)
            self._connection.execute(statement, rows)

    def _write(
        self,
        statement: Executable,
        rows: Sequence[dict[str, Any]] | dict[str, Any] | None = None,
    ) -> int:
        self._refuse_if_read_only()
        self.flush()
        with translated(self._place):
            return self._connection.execute(statement, rows).rowcount


def _stored(column: Column[Any], value: Any, dialect: Dialect) -> Any:
    kind = column.type
    return kind.process_bind_param(value, dialect) if isinstance(kind, TypeDecorator) else value
