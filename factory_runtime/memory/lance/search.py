"""Search a tenant's table: by meaning and by words, both at once, and ranked together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.memory import Recalled
from factory_runtime.domain.ranking import WORDS_WEIGHT
from factory_runtime.memory.blas import one_blas_thread
from factory_runtime.memory.lance.filters import wanted
from factory_runtime.memory.lance.library import lancedb, session, wait_for
from factory_runtime.memory.lance.rows import SHOWN
from factory_runtime.memory.lance.tables import Tables, check_nothing_left, is_missing
from factory_runtime.memory.words import words_of
from factory_runtime.ports import RecallQuery

CANDIDATES = 50
"""At least so many of each way are looked at; more where more are asked for."""

REFINE = 3
"""Of so many times the candidates that a vector index names, the true distance is computed."""

MAX_WORDS = 64
"""Of a query, the first so many: a whole log as a query costs no more than a paragraph."""

OPEN_TENANTS = 256
"""Of so many tenants the table stays open."""


@dataclass(frozen=True, slots=True)
class _Sought:
    """What is looked for, as LanceDB takes it."""

    vector: list[float]
    words: tuple[str, ...]
    where: Any
    count: int
    weight: float


class Searches:
    """Searches over tables that stay open; each asks whether somebody has written since."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._open: OrderedDict[str, Any] = OrderedDict()

    def search(
        self, tenant_id: str, query: RecallQuery, vector: Sequence[float]
    ) -> tuple[Recalled, ...]:
        """The best first."""
        if not self._tables.place.has(tenant_id):
            self._open.pop(tenant_id, None)
            return ()
        from factory_runtime.memory.lance.found import ranked

        sought = _sought(query, vector)
        try:
            found = wait_for(self._find(tenant_id, sought))
        except FactoryError:
            raise
        except Exception:
            # What was open may have been made anew by another process.
            self._open.pop(tenant_id, None)
            # Storage that does not answer says so now; LanceDB would try for seconds.
            self._tables.place.has_files(tenant_id)
            found = wait_for(self._find(tenant_id, sought))
        # OpenBLAS's other threads would spin for a while, beside what is done next.
        with one_blas_thread():
            return ranked(found, tenant_id, query, vector, len(sought.words))

    async def _find(self, tenant_id: str, sought: _Sought) -> list[Any]:
        table = await self._opened(tenant_id)
        if table is None:
            return []
        ways: list[Coroutine[Any, Any, Any]] = []
        if sought.weight < 1:
            ways.append(_by_meaning(table, sought))
        if sought.weight > 0 and sought.words:
            ways.append(_by_words(table, sought))
        return list(await asyncio.gather(*ways))

    async def _opened(self, tenant_id: str) -> Any:
        """The tenant's table; None where there is none."""
        table = self._open.get(tenant_id)
        if table is None:
            table = await self._open_table(tenant_id)
        if table is not None:
            self._open[tenant_id] = table
            self._open.move_to_end(tenant_id)
        while len(self._open) > OPEN_TENANTS:
            self._open.popitem(last=False)
        return table

    async def _open_table(self, tenant_id: str) -> Any:
        name = self._tables.name
        database = await lancedb().connect_async(
            self._tables.place.of(tenant_id),
            # A handle without this never sees what others wrote since it was opened.
            read_consistency_interval=timedelta(0),
            storage_options=dict(self._tables.place.options) or None,
            session=session(),
        )
        try:
            return await database.open_table(name)
        except ValueError as exc:
            if not is_missing(exc):
                raise
            await asyncio.to_thread(check_nothing_left, self._tables.place, tenant_id, name)
            return None


def _sought(query: RecallQuery, vector: Sequence[float]) -> _Sought:
    words = tuple(dict.fromkeys(words_of(query.text)))
    return _Sought(
        vector=list(vector),
        words=words[:MAX_WORDS],
        where=wanted(query),
        count=max(CANDIDATES, 3 * query.limit),
        weight=WORDS_WEIGHT if query.words_weight is None else query.words_weight,
    )


async def _by_meaning(table: Any, sought: _Sought) -> Any:
    search = (
        table.query()
        .nearest_to(sought.vector)
        .column("vector")
        .distance_type("cosine")
        .refine_factor(REFINE)
    )
    return await _answer(search, sought, "_distance")


async def _by_words(table: Any, sought: _Sought) -> Any:
    queries: Any = import_module("lancedb.query")
    words = queries.MatchQuery(" ".join(sought.words), "words")
    search = table.query().nearest_to_text(words)
    return await _answer(search, sought, "_score")


async def _answer(search: Any, sought: _Sought, score: str) -> Any:
    if sought.where is not None:
        search = search.where(sought.where)
    columns = [*SHOWN, "vector", score]
    return await search.limit(sought.count).select(columns).to_arrow()
