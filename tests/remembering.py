"""Memories that a test says are there: in the store, and in an index of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.memory import Embedded, Memory
from factory_runtime.memory.in_memory import InMemoryMemoryIndex, WordsEmbedder
from factory_runtime.ports import Embedder, MemoryIndex, RunStore
from factory_runtime.services.recall import Opened


class Kinder(WordsEmbedder):
    """Another model, to which all texts are much like any query."""

    model = "kinder"

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        own = super().embed(texts)
        return [(2.0, *vector[1:]) for vector in own]


@dataclass
class Remembering:
    """A store with its index; ``opened`` are the tenants whose index was asked for."""

    store: RunStore
    embedder: Embedder = field(default_factory=WordsEmbedder)
    index: MemoryIndex = field(init=False)
    opened: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.index = InMemoryMemoryIndex(self.embedder)

    def remember(self, *memories: Memory) -> None:
        """As the indexer would: the record first, then the index."""
        for tenant_id in sorted({one.tenant_id for one in memories}):
            own = [one for one in memories if one.tenant_id == tenant_id]
            with self.store.begin(tenant_id) as tx:
                tx.save_memories(own)
                kept = tx.find_memories([one.id for one in own])
                tx.mark_indexed(kept, max(one.created_at for one in own))
            self.index.upsert(tenant_id, list(self._embedded(own)))

    def forget(self, memory: Memory) -> None:
        """In the record alone: the index does not know yet."""
        with self.store.begin(memory.tenant_id) as tx:
            tx.delete_memories([memory.id])

    def open(self, tenant_id: str) -> Opened:
        self.opened.append(tenant_id)
        return self.embedder, self.index

    def _embedded(self, memories: list[Memory]) -> Iterable[Embedded]:
        vectors = self.embedder.embed([one.text for one in memories])
        return (Embedded(*both) for both in zip(memories, vectors, strict=True))


def remembering_of(runtime: Runtime) -> Remembering:
    """Has the runtime search what the test says is there."""
    found = Remembering(runtime.store)
    runtime.__dict__.update(embedder=found.embedder, memory=found.index)
    return found
