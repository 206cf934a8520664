"""The memory index on LanceDB: a database per tenant, a table per collection.

LanceDB takes more than a second to import, so it is imported with the first call.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, timedelta
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_runtime.domain.errors import FactoryError, MemoryUnavailableError
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.memory import Collection, Memory, Recalled
from factory_runtime.memory.rules import check_memories, check_tenant, check_vector
from factory_runtime.ports import Embedder, RecallQuery

if TYPE_CHECKING:
    from lancedb.expr import Expr

_TEXTS = (
    "title",
    "text",
    "project_id",
    "module_id",
    "run_id",
    "step",
    "trace_id",
    "correlation_id",
    "template_id",
    "template_version",
    "outcome",
    "classification",
    "embedding_model",
    "embedding_version",
    "superseded_by",
)
_first_used_by: int | None = None


class LanceMemoryIndex:
    """Exact search over local LanceDB tables.

    Only vectors of the embedder's model and version are compared with; a table holds vectors of one
    length, so another model may stand beside it. Safe to use from many threads and processes, but
    not after a fork: LanceDB's own threads do not live on in the child, which is refused here.
    """

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._folder = folder
        self._embedder = embedder

    def upsert(self, tenant_id: str, memories: Sequence[Memory]) -> None:
        """One commit per collection; of one id given twice, the last stands.

        Raises:
            InputError: the tenant's id is not a slug.
            PermanentError: a memory without a vector of this embedder, or of another tenant.
            MemoryUnavailableError: the folder cannot be read or written.
        """
        check_memories(tenant_id, memories, self._embedder)
        # LanceDB would insert both rows of an id that stands twice in one batch.
        latest = {memory.id: memory for memory in memories}.values()
        with self._translated():
            for collection in Collection:
                rows = [_row(memory) for memory in latest if memory.collection is collection]
                if rows:
                    self._merge(tenant_id, collection, rows)

    def search(
        self, tenant_id: str, query: RecallQuery, vector: Sequence[float]
    ) -> tuple[Recalled, ...]:
        """The most alike first. What is found comes without its vector.

        Raises:
            InputError: the tenant's id is not a slug.
            PermanentError: the vector is not one of the embedder's.
            MemoryUnavailableError: the folder cannot be read.
        """
        check_tenant(tenant_id)
        check_vector(vector, self._embedder, "the query")
        found: list[Recalled] = []
        with self._translated():
            for collection in dict.fromkeys(query.collections):
                table = self._find_table(tenant_id, collection)
                if table is not None:
                    rows = _nearest(table, self._filter(query), vector, query.limit)
                    found += [_recalled(row, tenant_id, collection) for row in rows]
        return tuple(sorted(found, key=lambda r: (-r.score, r.memory.id))[: query.limit])

    def forget(self, tenant_id: str, ids: Sequence[str]) -> None:
        """Delete by id, vectors of other models included; an id that is not there is no error.

        Raises:
            InputError: the tenant's id is not a slug.
            MemoryUnavailableError: the folder cannot be read or written.
        """
        check_tenant(tenant_id)
        with self._translated():
            if not ids or not self._has(tenant_id):
                return
            from lancedb.expr import col

            database = self._connect(tenant_id)
            for name in database.list_tables().tables:
                table = _open(database, name)
                if table is not None:
                    table.delete(col("id").isin(list(ids)))

    def count(self, tenant_id: str, collection: Collection) -> int:
        """How many memories of the collection have a vector of this embedder, superseded or not.

        Raises:
            InputError: the tenant's id is not a slug.
            MemoryUnavailableError: the folder cannot be read.
        """
        check_tenant(tenant_id)
        with self._translated():
            table = self._find_table(tenant_id, collection)
            return 0 if table is None else table.count_rows(self._same_model().to_sql())

    def tenants(self) -> tuple[str, ...]:
        """Those that have a database here.

        Raises:
            MemoryUnavailableError: the folder cannot be read.
        """
        with self._translated():
            if not self._folder.exists():
                return ()
            return tuple(sorted(one.name for one in self._folder.iterdir() if is_slug(one.name)))

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        """Compact every table of the tenant, of other models too, and drop versions of old.

        Raises:
            InputError: the tenant's id is not a slug.
            MemoryUnavailableError: the folder cannot be read or written, or somebody who wrote
                meanwhile was quicker.
        """
        check_tenant(tenant_id)
        with self._translated():
            if not self._has(tenant_id):
                return
            database = self._connect(tenant_id)
            for name in database.list_tables().tables:
                table = _open(database, name)
                if table is not None:
                    table.optimize(cleanup_older_than=keep)

    # tables

    def _merge(self, tenant_id: str, collection: Collection, rows: list[dict[str, Any]]) -> None:
        schema = _schema(self._embedder.dimensions)
        database = self._connect(tenant_id)
        name = self._table_name(collection)
        table = _open(database, name)
        if table is None:
            with self._making(tenant_id):
                table = _open(database, name)
                if table is None:
                    table = database.create_table(name, schema=schema)
        (
            table.merge_insert("id")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            # Through an index two writers at once would both insert an id they do not see yet.
            .use_index(False)
            .execute(_arrow().Table.from_pylist(rows, schema=schema))
        )

    @contextmanager
    def _making(self, tenant_id: str) -> Generator[None]:
        """One maker of a tenant's tables at a time, in every process.

        LanceDB lets two who make one table at once write over each other: with an empty table.
        The kernel gives the lock back when a maker is killed.
        """
        with (self._folder / tenant_id / ".making").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _find_table(self, tenant_id: str, collection: Collection) -> Any:
        if not self._has(tenant_id):
            return None
        return _open(self._connect(tenant_id), self._table_name(collection))

    def _has(self, tenant_id: str) -> bool:
        """Whether the tenant has a database: connecting to one makes it, and reading must not."""
        return (self._folder / tenant_id).exists() or self._folder.is_file()

    def _connect(self, tenant_id: str) -> Any:
        lancedb = _lancedb()
        # A handle without this never sees what others wrote since it was opened.
        return lancedb.connect(
            str(self._folder / tenant_id), read_consistency_interval=timedelta(0)
        )

    def _table_name(self, collection: Collection) -> str:
        return f"{collection.value}-{self._embedder.dimensions}"

    # filters, by expressions only: text from outside never becomes SQL

    def _filter(self, query: RecallQuery) -> Expr:
        conditions = [self._same_model(), _is(_text("superseded_by"), "")]
        if query.project_id is not None:
            # What belongs to no project is the whole tenant's.
            conditions.append(_text("project_id").isin([query.project_id, ""]))
        if query.projects is not None:
            conditions.append(_text("project_id").isin([*query.projects, ""]))
        if query.outcome is not None:
            conditions.append(_is(_text("outcome"), query.outcome))
        if query.exclude_run_ids:
            conditions.append(~_text("run_id").isin(list(query.exclude_run_ids)))
        return reduce(lambda one, other: one & other, conditions)

    def _same_model(self) -> Expr:
        return _is(_text("embedding_model"), self._embedder.model) & _is(
            _text("embedding_version"), self._embedder.version
        )

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except FactoryError:
            raise
        # LanceDB raises RuntimeError, ValueError, OSError and Arrow's own for one and the same.
        except Exception as exc:
            raise MemoryUnavailableError(
                f"the memory in {self._folder} cannot be used: {exc}",
                hint="it is made from the run store and can be made again: move the folder away",
            ) from exc


# Neither library has types that a strict checker can read.


def _arrow() -> Any:
    return import_module("pyarrow")


def _lancedb() -> Any:
    global _first_used_by
    lancedb = import_module("lancedb")
    _first_used_by = _first_used_by or os.getpid()
    if _first_used_by != os.getpid():
        raise MemoryUnavailableError(
            "LanceDB cannot be used in a forked process",
            hint="start the process by spawn or forkserver, or fork before the memory is used",
        )
    return lancedb


def _schema(dimensions: int) -> Any:
    pa = _arrow()

    key = {b"lance-schema:unenforced-primary-key": b"true"}
    return pa.schema(
        [
            # Declared as the key, or two writers at once both insert the same id.
            pa.field("id", pa.string(), nullable=False, metadata=key),
            *(pa.field(name, pa.string()) for name in _TEXTS),
            pa.field("created_at", pa.timestamp("us", tz="UTC")),
            pa.field("facts", pa.string()),
            pa.field("vector", pa.list_(pa.float32(), dimensions)),
        ]
    )


def _open(database: Any, name: str) -> Any:
    try:
        return database.open_table(name)
    except ValueError as exc:
        # Also where a kill left its folder behind and nothing in it.
        if "not found" in str(exc):
            return None
        raise


def _nearest(table: Any, where: Expr, vector: Sequence[float], limit: int) -> list[dict[str, Any]]:
    columns = ["id", *_TEXTS, "created_at", "facts", "_distance"]
    found = (
        table.search(list(vector), vector_column_name="vector")
        .distance_type("cosine")
        .where(where, prefilter=True)
        .select(columns)
        .limit(limit)
        .to_arrow()
    )
    return found.to_pylist()


def _row(memory: Memory) -> dict[str, Any]:
    return {
        "id": memory.id,
        **{name: getattr(memory, name) for name in _TEXTS},
        "created_at": memory.created_at,
        "facts": json.dumps(memory.facts),
        "vector": memory.vector,
    }


def _recalled(row: dict[str, Any], tenant_id: str, collection: Collection) -> Recalled:
    memory = Memory(
        id=row["id"],
        tenant_id=tenant_id,
        collection=collection,
        created_at=row["created_at"].astimezone(UTC),
        facts=json.loads(row["facts"]),
        **{name: row[name] for name in _TEXTS},
    )
    return Recalled(memory, 1.0 - float(row["_distance"]))


def _text(column: str) -> Expr:
    """The column's text, empty where it is null: compared with null, a row would be dropped."""
    from lancedb.expr import col, func, lit

    return func("concat", col(column), lit(""))


def _is(expression: Expr, text: str) -> Expr:
    from lancedb.expr import lit

    return expression == lit(text)
