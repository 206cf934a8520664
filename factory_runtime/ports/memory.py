"""The memory: embedding and the vector index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from factory_runtime.domain.memory import Collection, Memory, Recalled


class Embedder(Protocol):
    """Text to vectors of unit length."""

    model: str
    version: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]: ...


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """What to look for, in one tenant's memory.

    What belongs to no project is the whole tenant's, and is found in each.

    Attributes:
        projects: of one of them; None is any.
    """

    text: str
    collections: tuple[Collection, ...] = (Collection.RUNS, Collection.TEMPLATES)
    project_id: str | None = None
    outcome: str | None = None
    limit: int = 5
    exclude_run_ids: tuple[str, ...] = field(default=())
    projects: tuple[str, ...] | None = None


class MemoryIndex(Protocol):
    """The vector index: made from memory records, and can be made again.

    Raises, from every method: MemoryUnavailableError.
    """

    def upsert(self, tenant_id: str, memories: Sequence[Memory]) -> None:
        """Put rows in by id, exactly once in effect. Every memory has its vector."""
        ...

    def search(
        self, tenant_id: str, query: RecallQuery, vector: Sequence[float]
    ) -> tuple[Recalled, ...]:
        """The most alike first, over all the query's collections together."""
        ...

    def forget(self, tenant_id: str, ids: Sequence[str]) -> None: ...

    def count(self, tenant_id: str, collection: Collection) -> int: ...

    def tenants(self) -> tuple[str, ...]:
        """Whose memories there are, in the order of names."""
        ...

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        """Put small pieces together, and let go of what was replaced longer ago than ``keep``.

        Who reads or writes meanwhile is not disturbed; two of these at once do the work twice.
        """
        ...
