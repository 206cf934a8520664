"""The memory index and an embedder in plain Python: exact, gone when the process ends."""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections import Counter
from collections.abc import Collection as Container
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from factory_runtime.domain.conditions import matches
from factory_runtime.domain.memory import Collection, Embedded, Memory, Recalled
from factory_runtime.domain.ranking import ALIKE, Candidate, rank
from factory_runtime.memory.rules import check_rows, check_tenant, check_vector
from factory_runtime.memory.words import words_of
from factory_runtime.ports import Embedder, IndexSize, RecallQuery


class InMemoryMemoryIndex:
    """Exact cosine and BM25 over a dict: what every other index has to agree with."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._rows: dict[str, dict[str, Embedded]] = {}
        self._commits: Counter[str] = Counter()
        self._lock = threading.Lock()

    def upsert(self, tenant_id: str, rows: Sequence[Embedded]) -> None:
        """As the port says."""
        check_rows(tenant_id, rows, self._embedder)
        with self._lock:
            self._rows.setdefault(tenant_id, {}).update(_by_id(rows))
            self._commits[tenant_id] += 1

    def search(
        self, tenant_id: str, query: RecallQuery, vector: Sequence[float]
    ) -> tuple[Recalled, ...]:
        """As the port says."""
        check_vector(vector, self._embedder, "the query")
        rows = [row for row in self._of(tenant_id) if _wanted(row.memory, query)]
        asked = set(words_of(query.text))
        words = _words_scores(asked, rows)

        def near(place: int) -> Container[int]:
            own = rows[place]
            return [n for n, row in enumerate(rows) if _are_alike(row, own)]

        return rank(
            [
                Candidate(
                    row.memory.id,
                    _cosine(row.vector, vector),
                    words.get(row.memory.id),
                    lambda memory=row.memory: memory,
                )
                for row in rows
            ],
            limit=query.limit,
            words_weight=query.words_weight,
            newest=query.newest,
            words_asked=len(asked),
            near=near,
        )

    def forget(self, tenant_id: str, ids: Sequence[str]) -> None:
        """As the port says; an id that is not there is no error."""
        check_tenant(tenant_id)
        with self._lock:
            for id_ in ids:
                self._rows.get(tenant_id, {}).pop(id_, None)

    def replace(self, tenant_id: str, rows: Iterable[Embedded]) -> int:
        """As the port says."""
        anew = list(rows)
        check_rows(tenant_id, anew, self._embedder)
        with self._lock:
            self._rows[tenant_id] = _by_id(anew)
            return len(self._rows[tenant_id])

    def drop(self, tenant_id: str) -> None:
        """As the port says."""
        check_tenant(tenant_id)
        with self._lock:
            self._rows.pop(tenant_id, None)

    def drop_all(self, tenant_id: str) -> None:
        """As the port says: nothing is kept beside it here."""
        self.drop(tenant_id)

    def count(self, tenant_id: str, collection: Collection) -> int:
        """As the port says."""
        return self.size(tenant_id).rows[collection]

    def tenants(self) -> tuple[str, ...]:
        """As the port says."""
        with self._lock:
            return tuple(sorted(self._rows))

    def size(self, tenant_id: str) -> IndexSize:
        """As the port says: nothing of it is in files."""
        rows = Counter(row.memory.collection for row in self._of(tenant_id))
        return IndexSize(rows={collection: rows[collection] for collection in Collection})

    def commits(self, tenant_id: str) -> int:
        """As the port says."""
        check_tenant(tenant_id)
        return self._commits[tenant_id]

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        """As the port says: nothing is in pieces here."""
        del keep
        check_tenant(tenant_id)
        self._commits.pop(tenant_id, None)

    def _of(self, tenant_id: str) -> list[Embedded]:
        check_tenant(tenant_id)
        with self._lock:
            return list(self._rows.get(tenant_id, {}).values())


def _by_id(rows: Iterable[Embedded]) -> dict[str, Embedded]:
    # As the index has it, whatever the store knows of that.
    return {
        row.memory.id: replace(row, memory=replace(row.memory, indexed_at=None)) for row in rows
    }


def _wanted(memory: Memory, query: RecallQuery) -> bool:
    return (
        memory.collection in query.collections
        and (query.kinds is None or memory.kind in query.kinds)
        # What belongs to no project is the whole tenant's.
        and (query.project_id is None or memory.project_id in {None, query.project_id})
        and (query.projects is None or memory.project_id in {None, *query.projects})
        and (query.template_id is None or memory.template_id == query.template_id)
        and (query.outcome is None or memory.outcome == query.outcome)
        and (query.since is None or query.since <= memory.created_at)
        and (query.until is None or memory.created_at < query.until)
        and memory.run_id not in query.exclude_run_ids
        and (query.where is None or matches(query.where, memory))
    )


def _are_alike(one: Embedded, other: Embedded) -> bool:
    same = one.memory.text_digest == other.memory.text_digest
    return same or _cosine(one.vector, other.vector) >= ALIKE


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.hypot(*a) * math.hypot(*b))


_SATURATION, _LENGTH_COUNTS = 1.2, 0.75


def _words_scores(asked: Container[str], rows: Sequence[Embedded]) -> Mapping[str, float]:
    """BM25 by id, of those in which a word of the query stands (Robertson and Zaragoza, 2009)."""
    texts = {row.memory.id: words_of(f"{row.memory.title}\n{row.memory.text}") for row in rows}
    mean = sum(map(len, texts.values())) / max(len(texts), 1)
    scores: dict[str, float] = {}
    for word in asked:
        times = {id_: words.count(word) for id_, words in texts.items() if word in words}
        rarity = math.log(1 + (len(texts) - len(times) + 0.5) / (len(times) + 0.5))
        for id_, count in times.items():
            length = 1 - _LENGTH_COUNTS + _LENGTH_COUNTS * len(texts[id_]) / mean
            share = count * (_SATURATION + 1) / (count + _SATURATION * length)
            scores[id_] = scores.get(id_, 0.0) + rarity * share
    return scores


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
