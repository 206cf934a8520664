"""Rows for memory indexes, with vectors given by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from factory_runtime.domain.memory import Embedded, Kind, Memory
from factory_runtime.ports import MemoryIndex, RecallQuery

AT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
DIMENSIONS = 64
HOSTILE = ["' OR '1'='1", "x'); --", '"', "\\", "\\'", "%", "null", "naïve 漢字"]


class Axes:
    """An embedder of many dimensions: each text has one of its own."""

    def __init__(self, model: str = "axes", version: str = "1") -> None:
        self.model = model
        self.version = version
        self.dimensions = DIMENSIONS

    def embed(self, texts: Any) -> list[tuple[float, ...]]:
        return [towards(0) for _ in texts]


def towards(axis: int, degrees: float = 0) -> tuple[float, ...]:
    """So far from the first axis, where the queries point to, and towards another."""
    return _towards((axis,), degrees)


def _towards(axes: tuple[int, ...], degrees: float) -> tuple[float, ...]:
    vector = [0.0] * DIMENSIONS
    for axis in axes:
        vector[axis] = math.sin(math.radians(degrees)) / math.sqrt(len(axes))
    vector[0] = math.cos(math.radians(degrees))
    return tuple(vector)


QUERY = towards(0)
# Two axes each: one each would be used up by the tests of one process, and rows be alike.
_unused = combinations(range(1, DIMENSIONS), 2)
_axes_of: dict[str, tuple[int, int]] = {}


def a_row(
    id_: str = "m-1", place: float = 0, vector: tuple[float, ...] | None = None, **changes: Any
) -> Embedded:
    """The lower its place, the more alike is it to the query; no two are like each other."""
    memory = Memory(
        id=id_,
        tenant_id="acme",
        kind=Kind.RUN,
        title=f"Title of {id_}",
        text=f"what was learned of {id_}",
        created_at=AT,
        changed_at=AT,
    )
    if id_ not in _axes_of:
        _axes_of[id_] = next(_unused)
    if vector is None:
        vector = _towards(_axes_of[id_], 30 + place / 2)
    return Embedded(replace(memory, **changes), vector)


def found(index: MemoryIndex, tenant: str = "acme", text: str = "🏭", **query: Any) -> list[str]:
    """What a query finds by meaning; by words too, where it has some."""
    return [r.memory.id for r in index.search(tenant, RecallQuery(text, **query), QUERY)]
