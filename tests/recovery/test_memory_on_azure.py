"""The index in a container of blob storage: several writers, kills, and storage that is away."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Embedded
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex, Place
from factory_runtime.memory.lance.chosen import chosen_place
from factory_runtime.memory.lance.faults import check_place
from factory_runtime.memory.lance.tables import Tables
from factory_runtime.ports import RecallQuery, RunStore
from factory_runtime.run_store import open_run_store
from factory_runtime.services.index_memory import Indexer
from factory_runtime.services.memory_models import Models
from factory_runtime.settings import Settings
from factory_runtime.telemetry import worker_name
from tests.azurite import Azurite, running_azurite
from tests.builders import TENANT, a_memory

pytestmark = pytest.mark.service

EMBEDDER = WordsEmbedder()

# For each number on its standard input, it records and indexes so often four memories, and says which;
# then it says that it is done.
WRITER = """
    import sys
    from tests.recovery.test_memory_on_azure import indexer_of, learn
    from factory_runtime.memory.lance.chosen import chosen_place
    from factory_runtime.run_store import open_run_store
    from factory_runtime.settings import Settings

    store = open_run_store(sys.argv[1])
    indexer = indexer_of(store, chosen_place(Settings()))
    import lancedb  # before the first order, so that both begin at once
    print("ready", flush=True)
    for order in sys.stdin:
        for _ in range(int(order)):
            print(*learn(store, indexer), flush=True)
        print("done", flush=True)
"""


def indexer_of(store: RunStore, place: Place) -> Indexer:
    def open_index(embedder: object) -> LanceMemoryIndex:
        del embedder
        return LanceMemoryIndex(place, EMBEDDER)

    clock = SystemClock()
    models = Models(lambda: store, clock, "words", lambda _: EMBEDDER, open_index)
    return Indexer(store, clock, models, worker_name())


def learn(store: RunStore, indexer: Indexer) -> list[str]:
    """Record four memories, and see to it that they are indexed; their ids."""
    memories = [a_memory(text="a service of orders") for _ in range(4)]
    with store.begin(TENANT) as tx:
        tx.save_memories(memories)
    indexer.catch_up(TENANT)
    return [memory.id for memory in memories]


class Writer:
    """A process that writes as it is told."""

    def __init__(self, store_url: str, settings: Settings) -> None:
        assert settings.memory_account_key is not None
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), store_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={
                **os.environ,
                "FACTORY_MEMORY_URL": str(settings.memory_url),
                "FACTORY_MEMORY_ACCOUNT": str(settings.memory_account),
                "FACTORY_MEMORY_ACCOUNT_KEY": settings.memory_account_key.get_secret_value(),
                "FACTORY_MEMORY_ENDPOINT": str(settings.memory_endpoint),
            },
        )

    def order(self, count: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ids(self) -> list[str]:
        """Of what it was ordered to write."""
        return " ".join(iter(self.line, "done")).split()

    def close(self) -> None:
        """Kill it, whatever it is at."""
        self._process.kill()
        self._process.communicate()


def rows_of(count: int, text: str = "a service of orders") -> list[Embedded]:
    (vector,) = EMBEDDER.embed([text])
    return [Embedded(a_memory(text=text), vector) for _ in range(count)]


def found(index: LanceMemoryIndex, text: str = "a service of orders") -> list[str]:
    (vector,) = EMBEDDER.embed([text])
    shown = index.search(TENANT, RecallQuery(text, limit=100), vector)
    return sorted(one for hit in shown for one in (hit.memory.id, *hit.folded))


def ids_in(place: Place) -> Counter[str]:
    tables = Tables(place, EMBEDDER.model, EMBEDDER.version, EMBEDDER.dimensions)
    table = tables.find(TENANT)
    return Counter(table.search().select(["id"]).limit(10_000).to_arrow()["id"].to_pylist())


def ids_of(rows: list[Embedded]) -> list[str]:
    return sorted(row.memory.id for row in rows)


def test_writers_at_once_and_one_that_is_killed_lose_nothing_and_double_nothing(
    azurite: Azurite, azure_address: str, sqlite_url: str
) -> None:
    settings = azurite.settings(azure_address)
    place = chosen_place(settings)
    with closing(open_run_store(sqlite_url)) as store, closing(Writer(sqlite_url, settings)) as one:
        other = indexer_of(store, place)
        assert one.line() == "ready"
        # Neither finds a table, nor a container: the race begins with making them.
        one.order(5)
        ours = [memory for _ in range(5) for memory in learn(store, other)]
        written = Counter(one.ids() + ours)
        assert len(written) == 40
        assert ids_in(place) == written

        one.order(1000)
        assert all(one.line() for _ in range(2))
        one.close()
        learn(store, other)
        with store.begin(TENANT, read_only=True) as tx:
            assert tx.unindexed_memories(1) == ()
            recorded = Counter(memory.id for memory in tx.list_memories())
    assert ids_in(place) == recorded


def test_two_that_put_it_in_order_at_once_leave_every_row(
    azurite: Azurite, azure_address: str
) -> None:
    place = azurite.place(azure_address)
    index = LanceMemoryIndex(place, EMBEDDER)
    rows = rows_of(4)
    for row in rows:
        index.upsert(TENANT, [row])

    def optimize(_: int) -> bool:
        try:
            LanceMemoryIndex(place, EMBEDDER).optimize(TENANT, timedelta(0))
        except MemoryUnavailableError:
            return False  # the other one was quicker
        return True

    with ThreadPoolExecutor(2) as pool:
        assert any(pool.map(optimize, range(2)))
    assert found(index) == ids_of(rows)
    assert found(LanceMemoryIndex(place, EMBEDDER)) == ids_of(rows)
    assert ids_in(place) == Counter(ids_of(rows))
    index.upsert(TENANT, rows_of(1))
    assert len(found(index)) == 5


@pytest.mark.soak
def test_storage_that_is_away_for_a_while_is_caught_up_with(
    azure_address: str, sqlite_store: RunStore
) -> None:
    with running_azurite(keeps=True) as azurite:
        place, store = azurite.place(azure_address), sqlite_store
        indexer = indexer_of(store, place)

        before = learn(store, indexer)
        azurite.stop()
        with pytest.raises(MemoryUnavailableError, match="does not answer"):
            learn(store, indexer)
        index = LanceMemoryIndex(place, EMBEDDER)
        with pytest.raises(MemoryUnavailableError, match="does not answer") as caught:
            index.search(TENANT, RecallQuery("orders"), EMBEDDER.embed(["orders"])[0])
        assert "FACTORY_MEMORY_ENDPOINT" in caught.value.explain()
        with pytest.raises(MemoryUnavailableError, match="does not answer"):
            check_place(place)

        azurite.start()
        assert azurite.endpoint == place.options["azure_storage_endpoint"]
        check_place(place)
        assert found(index) == before
        assert indexer.catch_up(TENANT).indexed == 4
        assert len(found(index)) == 8


def test_a_table_that_has_lost_its_versions_is_not_taken_for_an_empty_one(
    azurite: Azurite, azure_address: str
) -> None:
    place = azurite.place(azure_address)
    index = LanceMemoryIndex(place, EMBEDDER)
    rows = rows_of(3)
    index.upsert(TENANT, rows)
    with azurite.container(azure_address) as container:
        for blob in container.list_blobs():
            if "/_versions/" in blob.name:
                container.delete_blob(blob.name)
    other = LanceMemoryIndex(azurite.place(azure_address), EMBEDDER)
    with pytest.raises(MemoryUnavailableError) as caught:
        found(other)
    assert "factory memory rebuild" in caught.value.explain()
    with pytest.raises(MemoryUnavailableError):
        other.upsert(TENANT, rows_of(1))
    assert other.replace(TENANT, rows) == 3
    assert found(other) == ids_of(rows)
