"""Keep tables small and quick, make them anew, and take rows out of them for good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Collection, Embedded, kinds_of
from factory_runtime.memory.lance.indexes import (
    index_vectors,
    index_words,
    rows_without_vector_index,
)
from factory_runtime.memory.lance.migrate import drop_damaged, migrate
from factory_runtime.memory.lance.rows import schema, table_of
from factory_runtime.memory.lance.spool import Spool
from factory_runtime.memory.lance.tables import Tables
from factory_runtime.ports import IndexSize

BATCH = 500
"""Rows that are made at once: some megabytes."""

_AT_ONCE = timedelta(milliseconds=1)
"""LanceDB warns of none at all."""
_OPTIMIZED_KEY = "factory-optimized-version"
_NOTED_AT = "facts"
"""The column that the note is put to: any but the key, whose own must stay."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The upkeep of one model's tables.

    Attributes:
        vector_index_from: rows of a tenant, from which on exact search is too slow.
    """

    tables: Tables
    vector_index_from: int

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        """Other models' tables too."""
        migrate(self.tables, tenant_id)
        for table in self.tables.all(tenant_id):
            changed = commits_of(table) > 0
            # Compacts, adds to the indexes what came after them, and lets go of old versions.
            table.optimize(cleanup_older_than=max(keep, _AT_ONCE))
            if changed:
                index_vectors(table, self.vector_index_from)
                _note_optimized(table)

    def forget(self, tenant_id: str, ids: Sequence[str]) -> None:
        """Out of every table, of other models too, and out of all that is left of its past.

        A table that has one of the rows is written anew: taken out only, it stays in its file.
        """
        from lancedb.expr import col

        migrate(self.tables, tenant_id)
        known = col("id").isin(list(ids))
        for table in self.tables.all(tenant_id):
            left, seen = table, int(table.version)
            if table.search().where(known).select(["id"]).limit(1).to_arrow().num_rows:
                with Spool(table.schema) as rest:
                    rest.write(table.search().where(~known).to_batches())
                    left = self._overwrite(tenant_id, table.name, rest, seen)
            # Also what a kill left behind of an earlier try.
            left.optimize(cleanup_older_than=_AT_ONCE, delete_unverified=True)

    def replace(self, tenant_id: str, rows: Iterable[Embedded]) -> int:
        """Nothing changes before all rows are there; then all of it does, in one commit."""
        name = self.tables.name
        # Tables of earlier forms have rows of other models too.
        drop_damaged(self.tables, tenant_id)
        migrate(self.tables, tenant_id)
        is_damaged = self.tables.is_damaged(tenant_id)
        seen = 0 if is_damaged else self._version(tenant_id, name)
        with Spool(schema(self.tables.dimensions)) as spool:
            for batch in _batches(rows):
                spool.write(self.arrow(batch).to_batches())
            if is_damaged:
                self.tables.drop(tenant_id, name)
            if spool.rows or seen:
                self._overwrite(tenant_id, name, spool, seen)
            return spool.rows

    def arrow(self, rows: Sequence[Embedded]) -> Any:
        """The rows as a table of this model has them."""
        tables = self.tables
        return table_of(rows, tables.model, tables.version, tables.dimensions)

    def drop(self, tenant_id: str) -> None:
        """This model's table; with the last of all, the database."""
        migrate(self.tables, tenant_id)  # tables of earlier forms have rows of other models too
        self.tables.drop(tenant_id, self.tables.name)
        self.tables.drop_if_empty(tenant_id)

    def size(self, tenant_id: str) -> IndexSize:
        """Files, bytes and versions of other models' tables too."""
        own = self.tables.find(tenant_id)
        files = self.tables.place.file_sizes(tenant_id)
        return IndexSize(
            rows={one: 0 if own is None else rows_of(own, one) for one in Collection},
            unindexed_rows=0 if own is None else rows_without_vector_index(own),
            files=len(files),
            bytes_used=sum(files),
            versions=sum(len(table.list_versions()) for table in self.tables.all(tenant_id)),
        )

    def commits(self, tenant_id: str) -> int:
        """Of all tables together."""
        return sum(commits_of(table) for table in self.tables.all(tenant_id))

    def _version(self, tenant_id: str, name: str) -> int:
        """Of a table; 0 where there is none."""
        table = self.tables.named(tenant_id, name)
        return 0 if table is None else int(table.version)

    def _overwrite(self, tenant_id: str, name: str, rows: Spool, seen: int) -> Any:
        """One commit: who reads sees all of what was there, or all of what is there now.

        Raises:
            MemoryUnavailableError: the table is of another version than was ``seen``. This process
                was stopped for so long that another one has taken its turn, and written.
        """
        batches = rows.read()
        if self._version(tenant_id, name) != seen:
            raise MemoryUnavailableError(
                f"the memory of {tenant_id} was changed meanwhile", hint="try again"
            )
        table = self.tables.connect(tenant_id).create_table(
            name, data=batches, schema=rows.schema, mode="overwrite"
        )
        index_words(table)
        index_vectors(table, self.vector_index_from)
        _note_optimized(table)
        return table


def rows_of(table: Any, collection: Collection) -> int:
    """How many memories of the collection are in it."""
    kinds = ", ".join(f"'{kind.value}'" for kind in kinds_of([collection]))
    # It takes no expression; there is nothing in these that could be anything else.
    return int(table.count_rows(f"kind IN ({kinds})"))


def commits_of(table: Any) -> int:
    """How many there were since it was noted that it is in order."""
    notes: dict[bytes, bytes] = table.schema.field(_NOTED_AT).metadata or {}
    noted = notes.get(_OPTIMIZED_KEY.encode(), b"0")
    return max(0, int(table.version) - int(noted))


def _note_optimized(table: Any) -> None:
    # The note is a commit itself.
    note = {_OPTIMIZED_KEY: str(int(table.version) + 1)}
    table.update_field_metadata({"path": _NOTED_AT, "metadata": note})


def _batches(rows: Iterable[Embedded]) -> Iterator[list[Embedded]]:
    left = _each_once(rows)
    while batch := list(islice(left, BATCH)):
        yield batch


def _each_once(rows: Iterable[Embedded]) -> Iterator[Embedded]:
    seen: set[str] = set()
    for row in rows:
        if row.memory.id not in seen:
            seen.add(row.memory.id)
            yield row
