"""The upkeep of the memory: by one at a time, and no tenant hinders another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import MemoryVector
from factory_runtime.memory.in_memory import InMemoryMemoryIndex, WordsEmbedder
from factory_runtime.run_store import open_run_store
from factory_runtime.run_store.memories import Memories
from factory_runtime.services.index_memory import KEEP
from factory_runtime.services.memory_lock import NAME
from factory_runtime.services.optimize_memory import Optimized, optimize_memory
from tests.builders import a_memory
from tests.small_factory import SettableClock, SmallFactory

HERE = "here:1"


class Watched(InMemoryMemoryIndex):
    """Has memories of three tenants, and tells who is being put in order."""

    def __init__(self) -> None:
        super().__init__(WordsEmbedder())
        self.asked: list[tuple[str, timedelta]] = []
        self.meanwhile: Callable[[str], object] = lambda tenant_id: None

    def tenants(self) -> tuple[str, ...]:
        return ("acme", "broken", "umbrella")

    def optimize(self, tenant_id: str, keep: timedelta) -> None:
        self.asked.append((tenant_id, keep))
        self.meanwhile(tenant_id)
        if tenant_id == "broken":
            raise MemoryUnavailableError("a tag older than that keeps it from being cleaned up")


def test_a_memory_that_cannot_be_put_in_order_hinders_no_other(factory: SmallFactory) -> None:
    index = Watched()
    assert optimize_memory(factory.store, factory.clock, index, HERE) == Optimized(2, 0, 1)
    assert index.asked == [("acme", KEEP), ("broken", KEEP), ("umbrella", KEEP)]
    # And it may be tried again at once.
    assert optimize_memory(factory.store, factory.clock, index, HERE) == Optimized(2, 0, 1)


def test_one_at_a_time_is_at_a_memory(factory: SmallFactory) -> None:
    index, other = Watched(), Watched()
    found: list[Optimized] = []

    def second(tenant_id: str) -> None:
        if tenant_id == "acme":
            found.append(optimize_memory(factory.store, factory.clock, other, HERE))

    index.meanwhile = second
    assert optimize_memory(factory.store, factory.clock, index, HERE).done == 2
    assert found == [Optimized(1, 1, 1)]
    assert [tenant for tenant, _ in other.asked] == ["broken", "umbrella"]


def test_one_that_was_killed_keeps_nobody_from_it(factory: SmallFactory, dead: str) -> None:
    now = factory.clock.now()
    with factory.store.begin("acme") as tx:
        assert tx.try_lock(NAME, f"{dead}-1", now, now + timedelta(hours=1))
    assert optimize_memory(factory.store, factory.clock, Watched(), HERE) == Optimized(2, 0, 1)


def test_vectors_of_texts_that_are_no_more_are_dropped(factory: SmallFactory) -> None:
    kept, gone = a_memory(text="kept"), a_memory(text="gone")
    with factory.store.begin("acme") as tx:
        tx.save_memories([kept])
        tx.save_vectors(
            MemoryVector("acme", "m/1", one.text_digest, (1.0,)) for one in (kept, gone)
        )
    optimize_memory(factory.store, factory.clock, Watched(), HERE)
    with factory.store.begin("acme", read_only=True) as tx:
        found = tx.find_vectors("m/1", [kept.text_digest, gone.text_digest])
    assert found.keys() == {kept.text_digest}


def test_while_it_is_looked_for_what_is_to_be_mended_others_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_run_store(f"sqlite:///{tmp_path / 'factory.db'}")
    beside: list[str] = []
    unused = Memories.unused_vectors

    def write_meanwhile(self: Memories, limit: int) -> tuple[str, ...]:
        with ThreadPoolExecutor(1) as other:
            other.submit(learn).result()
        return unused(self, limit)

    def learn() -> None:
        with store.begin("acme") as tx:
            tx.save_memories([a_memory(text="beside")])
        beside.append("acme")

    monkeypatch.setattr(Memories, "unused_vectors", write_meanwhile)
    with closing(store):
        assert optimize_memory(store, SettableClock(), Watched(), HERE).done == 2
    assert len(beside) == 3
