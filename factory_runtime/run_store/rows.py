"""The one way from a transaction to the tables: every statement made here names the tenant."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    Insert,
    Row,
    RowMapping,
    Select,
    Table,
    TypeDecorator,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from factory_runtime.domain.api_key import ApiKey
from factory_runtime.domain.approval import Approval, Vote
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.audit import AuditSeal, Unsealed
from factory_runtime.domain.callback import Callback
from factory_runtime.domain.dead_letter import (
    DeadLetter,
    FailureKind,
    LetterCount,
    RedriveOrder,
)
from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.errors import InputError, PermanentError
from factory_runtime.domain.job import Job
from factory_runtime.domain.memory import (
    ContextPackage,
    Forgotten,
    Memory,
    MemoryModel,
    MemoryUse,
    MemoryVector,
    Observation,
)
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.records import (
    AuditEntry,
    Breaker,
    Checkpoint,
    Effect,
    Lock,
    OutboxMessage,
    RequestRecord,
    RunEvent,
    SetAside,
    TemplateRecord,
    TopicWait,
)
from factory_runtime.domain.run import Run
from factory_runtime.domain.run_words import RunWord
from factory_runtime.domain.tally import Tally
from factory_runtime.domain.webhook import WebhookDelivery, WebhookSource
from factory_runtime.run_store import tables
from factory_runtime.run_store.column_types import CleanText, VectorBytes
from factory_runtime.run_store.engines import overwrite_deleted
from factory_runtime.run_store.translate import translated

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Condition = ColumnElement[bool]
Beyond = Callable[[], AbstractContextManager[None]]

_ROWS_AT_ONCE = 5000
"""Of one statement: as text they are some megabytes."""


@dataclass(frozen=True)
class Record(Generic[T]):
    """A kind of value and the table that holds it: one column for each of its fields."""

    table: Table
    of: type[T]

    @cached_property
    def columns(self) -> tuple[Column[Any], ...]:
        return tuple(self.table.c[field.name] for field in fields(self.of))

    def row_of(self, value: T) -> dict[str, Any]:
        return {column.name: getattr(value, column.name) for column in self.columns}

    def value_of(self, row: RowMapping) -> T:
        if self._derived:
            return self.of(**{name: row[name] for name in row if name not in self._derived})
        return self.of(**row)

    @cached_property
    def _derived(self) -> frozenset[str]:
        """Columns whose values follow from the others."""
        return frozenset(field.name for field in fields(self.of) if not field.init)

    def changes(self, before: T, after: T) -> dict[str, Any]:
        """The columns in which the two differ, with what they become."""
        old, new = self.row_of(before), self.row_of(after)
        return {name: value for name, value in new.items() if value != old[name]}

    def check(self, row: Mapping[str, Any]) -> None:
        """Refuse text that is longer than its column, which SQLite alone would take.

        Raises:
            InputError: it names the column and both lengths.
        """
        for name, length in self._lengths:
            text = row.get(name)
            if isinstance(text, str) and len(text) > length:
                raise InputError(
                    f"{self.table.name}.{name} holds {length} characters, not {len(text)}",
                    hint="use a shorter one",
                )

    @cached_property
    def fits_json(self) -> bool:
        """Whether no column of it holds bytes."""
        return not any(isinstance(column.type, VectorBytes) for column in self.columns)

    def as_json(self, rows: Iterable[Mapping[str, Any]], dialect: Dialect) -> str:
        """The rows as PostgreSQL reads them: a list of objects, a member for each column.

        Raises:
            InputError: a value that no column type can turn into SQL.
        """
        columns = _binding(self, dialect)
        try:
            stored = [
                {
                    name: value if bind is None else bind(value)
                    for (name, bind), value in zip(columns, row.values(), strict=True)
                }
                for row in rows
            ]
            return json.dumps(stored, default=datetime.isoformat, allow_nan=False)
        except (ValueError, TypeError) as exc:
            raise InputError(f"the run store cannot hold this value: {exc}") from exc

    @cached_property
    def _lengths(self) -> tuple[tuple[str, int], ...]:
        kinds = ((column.name, column.type) for column in self.columns)
        return tuple((name, kind.length) for name, kind in kinds if isinstance(kind, CleanText))


RUNS = Record(tables.runs, Run)
RUN_WORDS = Record(tables.run_words, RunWord)
JOBS = Record(tables.jobs, Job)
ATTEMPTS = Record(tables.attempts, Attempt)
ARTIFACTS = Record(tables.artifacts, Artifact)
EVENTS = Record(tables.run_events, RunEvent)
EFFECTS = Record(tables.effects, Effect)
CHECKPOINTS = Record(tables.checkpoints, Checkpoint)
BREAKERS = Record(tables.breakers, Breaker)
MESSAGES = Record(tables.outbox, OutboxMessage)
TEMPLATES = Record(tables.templates, TemplateRecord)
REQUESTS = Record(tables.requests, RequestRecord)
MEMORIES = Record(tables.memory_records, Memory)
VECTORS = Record(tables.memory_vectors, MemoryVector)
OBSERVATIONS = Record(tables.memory_observations, Observation)
USES = Record(tables.memory_uses, MemoryUse)
FORGOTTEN = Record(tables.memory_forgotten, Forgotten)
MODELS = Record(tables.memory_models, MemoryModel)
PACKAGES = Record(tables.memory_packages, ContextPackage)
TALLIES = Record(tables.memory_tallies, Tally)
LOCKS = Record(tables.locks, Lock)
LETTERS = Record(tables.dead_letters, DeadLetter)
LETTER_COUNTS = Record(tables.letter_counts, LetterCount)
FAILURE_KINDS = Record(tables.failure_kinds, FailureKind)
ORDERS = Record(tables.redrive_orders, RedriveOrder)
APPROVALS = Record(tables.approvals, Approval)
VOTES = Record(tables.votes, Vote)
POLICIES = Record(tables.policies, PolicyRecord)
DEPLOYMENTS = Record(tables.deployments, Deployment)
PUBLICATIONS = Record(tables.publications, Publication)
SET_ASIDES = Record(tables.set_asides, SetAside)
TOPIC_WAITS = Record(tables.topic_waits, TopicWait)
AUDIT = Record(tables.audit, AuditEntry)
API_KEYS = Record(tables.api_keys, ApiKey)
SOURCES = Record(tables.webhook_sources, WebhookSource)
DELIVERIES = Record(tables.webhook_deliveries, WebhookDelivery)
CALLBACKS = Record(tables.callbacks, Callback)
SEALS = Record(tables.audit_seals, AuditSeal)
UNSEALED = Record(tables.audit_unsealed, Unsealed)


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
        query = _finding(record, tuple(key))
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
        query = _locking(record, tuple(key))
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
        self._write(_appending(record, number, within), {**row, **bound})

    def insert_if_absent(self, record: Record[T], value: T) -> bool:
        """False where a row of the same key stands already, also one committed just now."""
        row = self._own(record, value)
        return self._write(_inserting_absent(record), row) == 1

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
        statement = _changing(record, tuple(changes), tuple(key))
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
            statement = _inserting_as_json(record, or_skip=or_skip)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                part = record.as_json(rows[start : start + _ROWS_AT_ONCE], dialect)
                self._connection.exec_driver_sql(statement, (part,))
        else:
            statement = _inserting_absent(record) if or_skip else _inserting(record)
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


# Building a statement costs more than SQLite needs to carry it out. These are built once for each
# shape and given their values when they are executed; every one of them names the tenant.


@lru_cache(maxsize=512)
def _changing(record: Record[Any], changed: tuple[str, ...], key: tuple[str, ...]) -> Update:
    columns = record.table.c
    values = {name: bindparam(f"new_{name}", type_=columns[name].type) for name in changed}
    return update(record.table).where(_of_key(record, key)).values(values)


@lru_cache(maxsize=64)
def _finding(record: Record[Any], key: tuple[str, ...]) -> Select[Any]:
    return select(*record.columns).where(_of_key(record, key)).limit(1)


@lru_cache(maxsize=64)
def _locking(record: Record[Any], key: tuple[str, ...]) -> Select[Any]:
    return select(record.columns[0]).where(_of_key(record, key)).with_for_update(key_share=True)


@lru_cache(maxsize=64)
def _inserting(record: Record[Any]) -> Insert:
    return insert(record.table)


@lru_cache(maxsize=256)
def _binding(
    record: Record[Any], dialect: Dialect
) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """The columns, and what makes of a value of each what the database is given."""
    kinds = ((column.name, column.type.dialect_impl(dialect)) for column in record.columns)
    return tuple((name, kind.bind_processor(dialect)) for name, kind in kinds)


@lru_cache(maxsize=64)
def _inserting_as_json(record: Record[Any], *, or_skip: bool) -> str:
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
    inserting = str(compiler.visit_insert(statement, **options))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - not typed
    return f"{inserting} ON CONFLICT DO NOTHING"


@lru_cache(maxsize=64)
def _inserting_absent(record: Record[Any]) -> Insert:
    return _InsertAbsent(record.table).execution_options(preserve_rowcount=True)


@lru_cache(maxsize=64)
def _appending(record: Record[Any], number: str, within: str) -> Insert:
    greatest = select(func.max(record.table.c[number])).where(_of_key(record, (within,)))
    next_number = func.coalesce(greatest.scalar_subquery(), 0) + 1
    others = {
        column.name: bindparam(column.name, type_=column.type)
        for column in record.columns
        if column.name != number
    }
    return insert(record.table).values({**others, number: next_number})


def _of_key(record: Record[Any], key: Sequence[str]) -> Condition:
    columns = record.table.c
    return and_(
        *(
            columns[name] == bindparam(f"key_{name}", type_=columns[name].type)
            for name in ("tenant_id", *key)
        )
    )


def _stored(column: Column[Any], value: Any, dialect: Dialect) -> Any:
    kind = column.type
    return kind.process_bind_param(value, dialect) if isinstance(kind, TypeDecorator) else value
