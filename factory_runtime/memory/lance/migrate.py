"""Tables of earlier forms: their rows go over to today's, with their vectors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from factory_runtime.domain.memory import Collection, Embedded, Kind, Memory
from factory_runtime.memory.lance.rows import table_of
from factory_runtime.memory.lance.tables import Tables, table_names

_VERSION_1 = re.compile(rf"({'|'.join(Collection)})-(\d+)")
"""Version 1 named a table by its vectors' length, and had rows of several models in it."""

# A collection of version 1 had one kind of memory each.
_KIND_THEN = {
    Collection.TEMPLATES: Kind.TEMPLATE,
    Collection.RUNS: Kind.RUN,
    Collection.CODE: Kind.CODE,
    Collection.DOMAIN: Kind.DOCUMENT,
}

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
    for name, collection, dimensions in _old(database):
        rows = database.open_table(name).search().to_arrow().to_pylist()
        _move(tables, tenant_id, collection, dimensions, rows)
        tables.drop(tenant_id, name)


def drop_old(tables: Tables, tenant_id: str) -> None:
    """Let go of what stands in tables of an earlier form."""
    if tables.place.has(tenant_id):
        for name, _, _ in _old(tables.connect(tenant_id)):
            tables.drop(tenant_id, name)


def _old(database: Any) -> Iterator[tuple[str, Collection, int]]:
    for name in table_names(database):
        if old := _VERSION_1.fullmatch(name):
            yield name, Collection(old[1]), int(old[2])


def _move(
    tables: Tables,
    tenant_id: str,
    collection: Collection,
    dimensions: int,
    rows: list[dict[str, Any]],
) -> None:
    models = {(row["embedding_model"], row["embedding_version"]) for row in rows}
    for model, version in models:
        todays = [
            _today(row, tenant_id, collection)
            for row in rows
            if (row["embedding_model"], row["embedding_version"]) == (model, version)
        ]
        target = Tables(tables.place, model, version, dimensions).ensure(tenant_id, collection)
        (
            target.merge_insert("id")
            .when_not_matched_insert_all()
            .use_index(False)
            .execute(table_of(todays, model, version, dimensions))
        )


def _today(row: dict[str, Any], tenant_id: str, collection: Collection) -> Embedded:
    texts = {name: row[name] for name in _TEXTS_THEN}
    memory = Memory(
        id=row["id"],
        tenant_id=tenant_id,
        kind=_KIND_THEN[collection],
        created_at=row["created_at"],
        changed_at=row["created_at"],
        facts=json.loads(row["facts"]),
        **texts,
    )
    return Embedded(memory, tuple(row["vector"]))
