"""A memory over in-memory parts that a test may watch, break, and do something amid."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from factory_runtime.domain.errors import SettingsError
from factory_runtime.domain.memory import Collection, Embedded, Memory
from factory_runtime.memory.in_memory import InMemoryMemoryIndex, WordsEmbedder
from factory_runtime.ports import Embedder, MemoryIndex, RunStore
from factory_runtime.ports.memory import model_name
from factory_runtime.services.index_memory import Indexer
from factory_runtime.services.memory_models import Models
from tests.builders import TENANT, a_memory
from tests.small_factory import SettableClock

HERE = "here:1"


class Words(WordsEmbedder):
    """Counts words; keeps what it was given.

    Attributes:
        texts: all that it embedded.
        amid: is called with each text before it is embedded.
    """

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.texts: list[str] = []
        self.amid: Callable[[str], object] = lambda text: None

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        for text in texts:
            self.amid(text)
        self.texts += texts
        return super().embed(texts)


class Index(InMemoryMemoryIndex):
    """Exact.

    Attributes:
        before, after: are called before and after a batch is put in.
        optimized: how often.
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(embedder)
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.optimized = 0

    def upsert(self, tenant_id: str, rows: Sequence[Embedded]) -> None:
        self.before()
        super().upsert(tenant_id, rows)
        self.after()

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        super().optimize(tenant_id, keep)
        self.optimized += 1

    def ids(self, tenant_id: str = TENANT) -> list[str]:
        return sorted(row.memory.id for row in self._of(tenant_id))

    def rows(self, tenant_id: str = TENANT) -> list[Embedded]:
        """By id; vectors as exact as the record keeps them."""
        rows = [replace(row, vector=tuple(array("f", row.vector))) for row in self._of(tenant_id)]
        return sorted(rows, key=lambda row: row.memory.id)


class Library:
    """The memory of a store: embedders ``first``, ``second`` and so on, as a test adds them."""

    def __init__(self, store: RunStore, clock: SettableClock) -> None:
        self.store = store
        self.clock = clock
        self.embedder = Words()
        self.embedders: dict[str, Embedder] = {"first": self.embedder}
        self.indexes: dict[str, Index] = {}
        self.open_index: Callable[[Embedder], MemoryIndex] = self._index_of
        self.models = Models(
            lambda: store,
            clock,
            "first",
            self._open_embedder,
            lambda embedder: self.open_index(embedder),
        )
        self.index = self._index_of(self.embedder)
        self.indexer = self.another_indexer()

    def another_indexer(self, worker: str = HERE) -> Indexer:
        return Indexer(self.store, self.clock, self.models, worker)

    def add_model(self, name: str, version: str) -> tuple[Words, Index]:
        """An embedder that the settings could name, and the index of its vectors."""
        embedder = self.embedders[name] = Words(version)
        return embedder, self._index_of(embedder)

    def learn(self, *memories: Memory, tenant_id: str = TENANT) -> None:
        with self.store.begin(tenant_id) as tx:
            tx.save_memories(memories)

    def unindexed(self, tenant_id: str = TENANT) -> list[str]:
        with self.store.begin(tenant_id) as tx:
            return sorted(memory.id for memory in tx.unindexed_memories(1000))

    def all(self, tenant_id: str = TENANT) -> tuple[Memory, ...]:
        with self.store.begin(tenant_id, read_only=True) as tx:
            return tx.list_memories()

    def vectors(self, texts: Iterable[str], embedder: Embedder | None = None) -> int:
        """How many of these texts have one."""
        digests = {a_memory(text=text).text_digest for text in texts}
        with self.store.begin(TENANT, read_only=True) as tx:
            return len(tx.find_vectors(model_name(embedder or self.embedder), digests))

    def count(self, collection: Collection = Collection.RUNS) -> int:
        return self.index.count(TENANT, collection)

    def _open_embedder(self, name: str) -> Embedder:
        if name not in self.embedders:
            raise SettingsError(f"no embedder is called {name!r}")
        return self.embedders[name]

    def _index_of(self, embedder: Embedder) -> Index:
        return self.indexes.setdefault(model_name(embedder), Index(embedder))
