"""The memory index and an embedder in plain Python: exact, gone when the process ends."""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from factory_runtime.domain.memory import Collection, Memory, Recalled
from factory_runtime.memory.rules import check_memories, check_tenant, check_vector
from factory_runtime.ports import Embedder, RecallQuery


class InMemoryMemoryIndex:
    """Exact cosine over a dict: what every other index has to agree with."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._rows: dict[str, dict[str, Memory]] = {}
        self._lock = threading.Lock()

    def upsert(self, tenant_id: str, memories: Sequence[Memory]) -> None:
        """As the port says."""
        check_memories(tenant_id, memories, self._embedder)
        with self._lock:
            self._rows.setdefault(tenant_id, {}).update({m.id: m for m in memories})

    def search(
        self, tenant_id: str, query: RecallQuery, vector: Sequence[float]
    ) -> tuple[Recalled, ...]:
        """As the port says. What is found comes without its vector."""
        check_vector(vector, self._embedder, "the query")
        found = [
            Recalled(replace(memory, vector=None), _cosine(memory.vector or (), vector))
            for memory in self._of(tenant_id)
            if _wanted(memory, query)
        ]
        return tuple(sorted(found, key=lambda r: (-r.score, r.memory.id))[: query.limit])

    def forget(self, tenant_id: str, ids: Sequence[str]) -> None:
        """As the port says; an id that is not there is no error."""
        check_tenant(tenant_id)
        with self._lock:
            for id_ in ids:
                self._rows.get(tenant_id, {}).pop(id_, None)

    def count(self, tenant_id: str, collection: Collection) -> int:
        """As the port says."""
        return sum(memory.collection is collection for memory in self._of(tenant_id))

    def tenants(self) -> tuple[str, ...]:
        """As the port says."""
        with self._lock:
            return tuple(sorted(self._rows))

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        """As the port says: nothing is in pieces here."""
        del keep
        check_tenant(tenant_id)

    def _of(self, tenant_id: str) -> list[Memory]:
        check_tenant(tenant_id)
        with self._lock:
            return list(self._rows.get(tenant_id, {}).values())


def _wanted(memory: Memory, query: RecallQuery) -> bool:
    return (
        memory.collection in query.collections
        and memory.superseded_by is None
        # What belongs to no project is the whole tenant's.
        and (query.project_id is None or memory.project_id in {None, query.project_id})
        and (query.projects is None or memory.project_id in {None, *query.projects})
        and (query.outcome is None or memory.outcome == query.outcome)
        and memory.run_id not in query.exclude_run_ids
    )


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.hypot(*a) * math.hypot(*b))


class WordsEmbedder:
    """Counts of words, hashed: texts are alike where they share words. Quick, knows no meaning."""

    model = "words"
    version = "1"
    dimensions = 256

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One unit vector a text."""
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> tuple[float, ...]:
        counts = [0.0] * self.dimensions
        # A text without words still has a direction.
        for word in re.findall(r"\w+", text.lower()) or [""]:
            digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
            counts[int.from_bytes(digest[:4], "big") % self.dimensions] += 1
        length = math.hypot(*counts)
        return tuple(count / length for count in counts)
