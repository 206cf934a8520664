"""The memory index on LanceDB."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.memory import Collection, Embedded, Recalled
from factory_runtime.memory.lance.faults import unavailable
from factory_runtime.memory.lance.indexes import freshen_words
from factory_runtime.memory.lance.migrate import migrate
from factory_runtime.memory.lance.place import Place
from factory_runtime.memory.lance.search import Searches
from factory_runtime.memory.lance.tables import Tables
from factory_runtime.memory.lance.upkeep import Upkeep, rows_of
from factory_runtime.memory.rules import check_rows, check_tenant, check_vector
from factory_runtime.ports import Embedder, IndexSize, RecallQuery

VECTOR_INDEX_FROM = 10_000
"""Rows of a tenant up to which exact search is quick enough."""


class LanceMemoryIndex:
    """A database per tenant, a table per embedding model.

    Safe to use from many threads and processes, but not after a fork: LanceDB's own threads do not
    live on in the child, which is refused here.

    Every method raises InputError where the tenant's id is not a slug, and MemoryUnavailableError
    where the place cannot be read or written.
    """

    def __init__(
        self,
        place: Place | Path,
        embedder: Embedder,
        *,
        vector_index_from: int = VECTOR_INDEX_FROM,
    ) -> None:
        self._place = place if isinstance(place, Place) else Place(str(place))
        self._embedder = embedder
        self._vector_index_from = vector_index_from

    def upsert(self, tenant_id: str, rows: Sequence[Embedded]) -> None:
        """One commit; of one id given twice, the last stands.

        Raises:
            PermanentError: a row of another tenant, or whose vector is not this embedder's.
        """
        check_rows(tenant_id, rows, self._embedder)
        # LanceDB would insert both rows of an id that stands twice in one batch.
        latest = {row.memory.id: row for row in rows}
        with self._translated():
            if latest:
                self._merge(tenant_id, list(latest.values()))

    def search(
        self, tenant_id: str, query: RecallQuery, vector: Sequence[float]
    ) -> tuple[Recalled, ...]:
        """As the port says.

        Raises:
            PermanentError: the vector is not one of the embedder's.
        """
        check_tenant(tenant_id)
        check_vector(vector, self._embedder, "the query")
        with self._translated():
            return self._searches.search(tenant_id, query, vector)

    def forget(self, tenant_id: str, ids: Sequence[str]) -> None:
        """Vectors of other models included; an id that is not there is no error."""
        check_tenant(tenant_id)
        with self._translated():
            if ids:
                self._upkeep.forget(tenant_id, ids)

    def replace(self, tenant_id: str, rows: Iterable[Embedded]) -> int:
        """As the port says; of one id given twice, the first stands.

        A table that cannot be read is no hindrance.

        Raises:
            PermanentError: as for ``upsert``; nothing has changed.
        """
        check_tenant(tenant_id)
        with self._translated():
            return self._upkeep.replace(tenant_id, self._checked(tenant_id, rows))

    def drop(self, tenant_id: str) -> None:
        """Of this model; other models' tables stay."""
        check_tenant(tenant_id)
        with self._translated():
            self._upkeep.drop(tenant_id)

    def drop_all(self, tenant_id: str) -> None:
        """The tenant's database, with tables of models that nobody knows any more."""
        check_tenant(tenant_id)
        with self._translated():
            self._place.remove(tenant_id)

    def count(self, tenant_id: str, collection: Collection) -> int:
        """How many memories of the collection have a vector of this embedder."""
        check_tenant(tenant_id)
        with self._translated():
            table = self._tables.find(tenant_id)
            return 0 if table is None else rows_of(table, collection)

    def tenants(self) -> tuple[str, ...]:
        """Those that have a database here, of whichever model."""
        with self._translated():
            return self._place.tenants()

    def size(self, tenant_id: str) -> IndexSize:
        """Files, bytes and versions of other models' tables too."""
        check_tenant(tenant_id)
        with self._translated():
            return self._upkeep.size(tenant_id)

    def commits(self, tenant_id: str) -> int:
        """Over all tables, of other models too."""
        check_tenant(tenant_id)
        with self._translated():
            return self._upkeep.commits(tenant_id)

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        """Every table of the tenant, of other models too; those of earlier forms are migrated.

        Raises:
            MemoryUnavailableError: also where somebody who wrote meanwhile was quicker.
        """
        check_tenant(tenant_id)
        with self._translated():
            self._upkeep.optimize(tenant_id, keep)

    def _merge(self, tenant_id: str, rows: Sequence[Embedded]) -> None:
        # Each time: the last one may have been killed amid it.
        migrate(self._tables, tenant_id)
        table = self._tables.ensure(tenant_id)
        (
            table.merge_insert("id")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            # Through an index two writers at once would both insert an id they do not see yet.
            .use_index(False)
            .execute(self._upkeep.arrow(rows))
        )
        freshen_words(table)

    def _checked(self, tenant_id: str, rows: Iterable[Embedded]) -> Iterator[Embedded]:
        for row in rows:
            check_rows(tenant_id, [row], self._embedder)
            yield row

    # Asked of the embedder late: one that is remote may have to be asked for its dimensions.

    @cached_property
    def _tables(self) -> Tables:
        embedder = self._embedder
        return Tables(self._place, embedder.model, embedder.version, embedder.dimensions)

    @cached_property
    def _upkeep(self) -> Upkeep:
        return Upkeep(self._tables, self._vector_index_from)

    @cached_property
    def _searches(self) -> Searches:
        return Searches(self._tables)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except FactoryError:
            raise
        # LanceDB raises RuntimeError, ValueError, OSError and Arrow's own for one and the same.
        except Exception as exc:
            raise unavailable(self._place, exc) from exc
