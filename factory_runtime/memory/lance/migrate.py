"""Tables of earlier forms: their rows go over to today's, with their vectors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from factory_runtime.domain.memory import Collection, Embedded, Kind, Memory
from factory_runtime.memory.lance.rows import memory_of, table_of
from factory_runtime.memory.lance.tables import Tables, table_names

_COLLECTIONS = "|".join(Collection)
_VERSION_1 = re.compile(rf"({_COLLECTIONS})-\d+")
"""Version 1 named a table by its vectors' length, and had rows of several models in it."""
_VERSION_2 = re.compile(rf"({_COLLECTIONS})-.+-[0-9a-f]{{8}}")
"""Version 2 had a table for each collection and model, with today's columns."""

# A collection of version 1 had one kind of memory each.
_KIND_THEN = {
    Collection.TEMPLATES: Kind.TEMPLATE,
    Collection.RUNS: Kind.RUN,
    Collection.CODE: Kind.CODE,
    Collection.DOMAIN: Kind.DOCUMENT,
}

_AT_ONCE = 500
"""Rows that are made at once: some megabytes."""

_TEXTS_THEN = (
    *("title", "text", "project_id", "module_id", "run_id", "step", "trace_id", "correlation_id"),
    *("template_id", "template_version", "outcome", "classification", "superseded_by"),
)


def migrate(tables: Tables, tenant_id: str) -> None:
    """Move what stands in tables of an earlier form into those of today.

    A row that is there already is the newer one, and stays. Killed in the middle, it is begun anew.
    """
    if not tables.place.has(tenant_id):
        return
    database = tables.connect(tenant_id)
    for name in _old(database):
        for batch in database.open_table(name).search().to_batches(batch_size=_AT_ONCE):
            _move(tables, tenant_id, name, batch.to_pylist())
        tables.drop(tenant_id, name)


def drop_damaged(tables: Tables, tenant_id: str) -> None:
    """Let go of tables of an earlier form that cannot be read.

    Raises what the storage does, where that is why they cannot.
    """
    if not tables.place.has(tenant_id):
        return
    database = tables.connect(tenant_id)
    for name in _old(database):
        try:
            for _ in database.open_table(name).search().to_batches(batch_size=_AT_ONCE):
                pass
        # LanceDB has no error of its own for it.
        except Exception:
            # Storage that is away says so here, and nothing is dropped.
            tables.place.has_files(tenant_id)
            tables.drop(tenant_id, name)


def _old(database: Any) -> Iterator[str]:
    for name in table_names(database):
        if _VERSION_1.fullmatch(name) or _VERSION_2.fullmatch(name):
            yield name


def _move(tables: Tables, tenant_id: str, name: str, rows: list[dict[str, Any]]) -> None:
    models = {
        (row["embedding_model"], row["embedding_version"], len(row["vector"])) for row in rows
    }
    for model, version, dimensions in models:
        todays = [
            _today(row, tenant_id, name)
            for row in rows
            if (row["embedding_model"], row["embedding_version"]) == (model, version)
        ]
        target = Tables(tables.place, model, version, dimensions).ensure(tenant_id)
        (
            target.merge_insert("id")
            .when_not_matched_insert_all()
            .use_index(False)
            .execute(table_of(todays, model, version, dimensions))
        )


def _today(row: Mapping[str, Any], tenant_id: str, name: str) -> Embedded:
    vector = tuple(row["vector"])
    if (first := _VERSION_1.fullmatch(name)) is None:
        return Embedded(memory_of(row, tenant_id), vector)
    memory = Memory(
        id=row["id"],
        tenant_id=tenant_id,
        kind=_KIND_THEN[Collection(first[1])],
        created_at=row["created_at"],
        changed_at=row["created_at"],
        facts=json.loads(row["facts"]),
        **{name: row[name] for name in _TEXTS_THEN},
    )
    return Embedded(memory, vector)
