"""How a memory with its vector stands in a table, and how it is read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from factory_runtime.domain.memory import Embedded, Kind, Memory
from factory_runtime.memory.lance.library import arrow
from factory_runtime.memory.words import words_of

SCHEMA_VERSION = 3
"""Of the tables' form. A later form adds columns that may be null: nothing else is read by those
who know only an earlier one."""

VERSION_KEY = b"factory-memory-schema"

TEXTS = (
    "title",
    "text",
    "project_id",
    "module_id",
    "run_id",
    "step",
    "artifact_id",
    "commit",
    "path",
    "trace_id",
    "correlation_id",
    "template_id",
    "template_version",
    "outcome",
    "classification",
    "superseded_by",
)
NUMBERS = ("first_line", "last_line", "revision")
TIMES = ("created_at", "changed_at")
SHOWN = ("id", "kind", "title", "text", "facts", "rest")
"""What a memory is read from. All that stands in columns of their own, for filters and for people,
stands in ``rest`` once more: reading twenty columns takes twice as long as the search.
"""


_REST = (*(name for name in TEXTS if name not in SHOWN), *NUMBERS, *TIMES)


def schema(dimensions: int) -> Any:
    """Every column but the id may be null, so that who knows fewer can still add rows."""
    pa = arrow()
    key = {b"lance-schema:unenforced-primary-key": b"true"}
    return pa.schema(
        [
            # Declared as the key, or two writers at once both insert the same id.
            pa.field("id", pa.string(), nullable=False, metadata=key),
            pa.field("kind", pa.string()),
            *(pa.field(name, pa.string()) for name in TEXTS),
            *(pa.field(name, pa.int64()) for name in NUMBERS),
            *(pa.field(name, pa.timestamp("us", tz="UTC")) for name in TIMES),
            pa.field("facts", pa.string()),
            pa.field("rest", pa.string()),
            pa.field("text_digest", pa.string()),
            pa.field("embedding_model", pa.string()),
            pa.field("embedding_version", pa.string()),
            pa.field("words", pa.string()),
            pa.field("vector", pa.list_(pa.float32(), dimensions)),
        ],
        metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
    )


def table_of(rows: Sequence[Embedded], model: str, version: str, dimensions: int) -> Any:
    """Arrow's table of them."""
    found = [_row(row, model, version) for row in rows]
    return arrow().Table.from_pylist(found, schema=schema(dimensions))


def memory_of(row: Mapping[str, Any], tenant_id: str) -> Memory:
    """The memory that a row tells of."""
    rest: dict[str, Any] = json.loads(row["rest"])
    for name in TIMES:
        rest[name] = rest[name] and datetime.fromisoformat(rest[name])
    return Memory(
        id=row["id"],
        tenant_id=tenant_id,
        kind=Kind(row["kind"]),
        title=row["title"],
        text=row["text"],
        facts=json.loads(row["facts"]),
        **rest,
    )


def word_text(title: str, text: str) -> str:
    """What the word index has of a memory."""
    return " ".join(words_of(f"{title}\n{text}"))


def _row(row: Embedded, model: str, version: str) -> dict[str, Any]:
    memory = row.memory
    return {
        **{name: getattr(memory, name) for name in ("id", *TEXTS, *NUMBERS, *TIMES)},
        "kind": memory.kind.value,
        "facts": json.dumps(memory.facts),
        "rest": json.dumps({name: _plain(getattr(memory, name)) for name in _REST}),
        "text_digest": memory.text_digest,
        "embedding_model": model,
        "embedding_version": version,
        "words": word_text(memory.title, memory.text),
        "vector": row.vector,
    }


def _plain(value: str | int | datetime | None) -> str | int | None:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
