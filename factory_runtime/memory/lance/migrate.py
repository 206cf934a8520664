"""Tables of earlier forms: their rows go over to today's, with their vectors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from factory_runtime.domain.memory import Collection, Kind, digest_of_text
from factory_runtime.memory.lance.library import arrow
from factory_runtime.memory.lance.rows import schema, word_text
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
            _today(row, collection)
            for row in rows
            if (row["embedding_model"], row["embedding_version"]) == (model, version)
        ]
        target = Tables(tables.place, model, version, dimensions).ensure(tenant_id, collection)
        (
            target.merge_insert("id")
            .when_not_matched_insert_all()
            .use_index(False)
            .execute(arrow().Table.from_pylist(todays, schema=schema(dimensions)))
        )


def _today(row: dict[str, Any], collection: Collection) -> dict[str, Any]:
    return row | {
        "kind": _KIND_THEN[collection].value,
        "text_digest": digest_of_text(row["text"]),
        "changed_at": row["created_at"],
        "revision": 1,
        "words": word_text(row["title"], row["text"]),
    }
