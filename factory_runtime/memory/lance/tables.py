"""A tenant's tables: their names, how they are opened, made, and brought to today's form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from factory_runtime.memory.lance.indexes import index_words
from factory_runtime.memory.lance.library import lancedb, session
from factory_runtime.memory.lance.place import Place
from factory_runtime.memory.lance.rows import schema

PREFIX = "memories"
"""Of the names of tables of today's form."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The table of one embedding model, in every tenant's database.

    All collections stand in one: a search asks each table both ways, and of a table it is the
    asking that takes time. Two models stand beside each other: a table's name tells whose it is.
    """

    place: Place
    model: str
    version: str
    dimensions: int

    @property
    def name(self) -> str:
        whole = f"{self.model}/{self.version}/{self.dimensions}"
        slug = re.sub(r"[^a-z0-9]+", "-", self.model.lower()).strip("-")[:40]
        return f"{PREFIX}-{slug}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"

    def find(self, tenant_id: str) -> Any:
        """The table; None where there is none."""
        return self.named(tenant_id, self.name)

    def named(self, tenant_id: str, name: str) -> Any:
        """The table with that name; None where there is none."""
        if not self.place.has(tenant_id):
            return None
        return self._open(self.connect(tenant_id), tenant_id, name)

    def ensure(self, tenant_id: str) -> Any:
        """The table, made where there is none, with every column that we know."""
        database, name = self.connect(tenant_id), self.name
        table = self._open(database, tenant_id, name)
        if table is None:
            with self.place.making(tenant_id):
                table = self._open(database, tenant_id, name)
                if table is None:
                    table = database.create_table(name, schema=schema(self.dimensions))
                    index_words(table)
        known = set(table.schema.names)
        missing = [field for field in schema(self.dimensions) if field.name not in known]
        if missing:
            table.add_columns(missing)
        return table

    def all(self, tenant_id: str) -> Iterator[Any]:
        """Those of other models, and of earlier forms, too."""
        if not self.place.has(tenant_id):
            return
        database = self.connect(tenant_id)
        for name in table_names(database):
            table = self._open(database, tenant_id, name)
            if table is not None:
                yield table

    def drop(self, tenant_id: str, name: str) -> None:
        """The table with that name, whether it can be read or not."""
        if self.place.has(tenant_id):
            self.connect(tenant_id).drop_table(name, ignore_missing=True)
            self.place.remove(tenant_id, f"{name}.lance")

    def is_damaged(self, tenant_id: str) -> bool:
        """Whether the table is there, and cannot be opened."""
        try:
            self.find(tenant_id)
        # LanceDB has no error of its own for it.
        except Exception:
            return True
        return False

    def drop_if_empty(self, tenant_id: str) -> None:
        """The database, where no table is left in it."""
        if self.place.has(tenant_id) and not table_names(self.connect(tenant_id)):
            self.place.remove(tenant_id)

    def connect(self, tenant_id: str) -> Any:
        """The tenant's database; its folder, or the container that it is in, is made."""
        self.place.make()
        return lancedb().connect(
            self.place.of(tenant_id),
            # A handle without this never sees what others wrote since it was opened.
            read_consistency_interval=timedelta(0),
            storage_options=dict(self.place.options) or None,
            session=session(),
        )

    def _open(self, database: Any, tenant_id: str, name: str) -> Any:
        try:
            return database.open_table(name)
        except ValueError as exc:
            if not is_missing(exc):
                raise
            check_nothing_left(self.place, tenant_id, name)
            return None


def is_missing(error: Exception) -> bool:
    """Whether LanceDB says that there is no such table."""
    return isinstance(error, ValueError) and "not found" in str(error)


def check_nothing_left(place: Place, tenant_id: str, name: str) -> None:
    """Return where a kill left at most an empty folder of a table behind.

    Raises:
        FileNotFoundError: it has rows in it, and nothing that says which.
    """
    if place.has_files(tenant_id, f"{name}.lance/data"):
        raise FileNotFoundError(f"the table {name} has lost its versions")


def table_names(database: Any) -> list[str]:
    """All of them: LanceDB answers page by page."""
    names: list[str] = []
    token: str | None = None
    while True:
        page = database.list_tables(page_token=token)
        names += page.tables
        token = page.page_token
        if not token:
            return names
