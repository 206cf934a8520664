"""Where something that was to stay secret might have been left."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import select

from factory_runtime.ports import RunStore
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.tables import metadata


def rows_of(store: RunStore) -> Iterator[str]:
    """Every row of the run store, as Python writes it."""
    assert isinstance(store, SqlRunStore)
    with closing(store.engine.connect()) as connection:
        for table in metadata.sorted_tables:
            yield from map(repr, connection.execute(select(table)).all())


def files_with(folder: Path, *texts: str) -> set[str]:
    """Files that hold one of them: databases, logs, results, artifacts, the memory's tables."""
    wanted = [text.encode() for text in texts]
    found = set[str]()
    for path in folder.rglob("*"):
        try:
            if path.is_file() and any(text in path.read_bytes() for text in wanted):
                found.add(str(path.relative_to(folder)))
        except FileNotFoundError:
            continue  # a lock or a journal, gone meanwhile
    return found


def forms_of(token: str) -> tuple[str, ...]:
    """A secret as it is, in an address, and behind a name of two letters in a header."""
    return (token, quote(token, safe=""), b64encode(f"me:{token}".encode()).decode()[4:-4])
