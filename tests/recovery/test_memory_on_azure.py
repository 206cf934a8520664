"""The index in a container of blob storage: several writers, kills, and storage that is away or shut."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import textwrap
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerClient,
    ResourceTypes,
    generate_account_sas,
)

from factory_runtime.bootstrap import SystemClock, open_runtime
from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.health import Health
from factory_runtime.domain.memory import Collection, Embedded
from factory_runtime.memory.container import Container
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
from tests.azurite import ACCOUNT, Azurite, running_azurite
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


@pytest.fixture
def address() -> str:
    """A container that is not there yet, and a prefix in it."""
    return f"{uuid4()}/of/ours"


@pytest.fixture
def store(sqlite_store: RunStore) -> RunStore:
    return sqlite_store


def rows_of(count: int, text: str = "a service of orders") -> list[Embedded]:
    (vector,) = EMBEDDER.embed([text])
    return [Embedded(a_memory(text=text), vector) for _ in range(count)]


def found(index: LanceMemoryIndex, text: str = "a service of orders") -> list[str]:
    (vector,) = EMBEDDER.embed([text])
    shown = index.search(TENANT, RecallQuery(text, limit=100), vector)
    return sorted(one for hit in shown for one in (hit.memory.id, *hit.folded))


def ids_in(place: Place) -> Counter[str]:
    tables = Tables(place, EMBEDDER.model, EMBEDDER.version, EMBEDDER.dimensions)
    table = tables.find(TENANT, Collection.RUNS)
    return Counter(table.search().select(["id"]).limit(10_000).to_arrow()["id"].to_pylist())


def ids_of(rows: list[Embedded]) -> list[str]:
    return sorted(row.memory.id for row in rows)


def a_token(azurite: Azurite, **may: bool) -> str:
    return generate_account_sas(
        ACCOUNT,
        azurite.key,
        ResourceTypes(container=True, object=True),
        AccountSasPermissions(read=True, list=True, **may),
        datetime.now(UTC) + timedelta(hours=1),
    )


def container_of(azurite: Azurite, address: str) -> ContainerClient:
    key = {"account_name": ACCOUNT, "account_key": azurite.key}
    return ContainerClient(azurite.endpoint, address.split("/")[0], credential=key)


def test_writers_at_once_and_one_that_is_killed_lose_nothing_and_double_nothing(
    azurite: Azurite, address: str, sqlite_url: str
) -> None:
    settings = azurite.settings(address)
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


def test_two_that_put_it_in_order_at_once_leave_every_row(azurite: Azurite, address: str) -> None:
    place = azurite.place(address)
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


def test_storage_that_is_away_for_a_while_is_caught_up_with(address: str, store: RunStore) -> None:
    with running_azurite(keeps=True) as azurite:
        place = azurite.place(address)
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


WAYS: dict[str, Callable[[LanceMemoryIndex, Place], object]] = {
    "search": lambda index, _: found(index),
    "upsert": lambda index, _: index.upsert(TENANT, rows_of(1)),
    "tenants": lambda index, _: index.tenants(),
    "size": lambda index, _: index.size(TENANT),
    "check": lambda _, place: check_place(place),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_key_is_told_by_its_setting_and_not_shown(
    azurite: Azurite, address: str, way: str
) -> None:
    key = base64.b64encode(b"not the account's" * 4).decode()
    _refused(azurite.place(address, memory_account_key=key), way, "FACTORY_MEMORY_ACCOUNT_KEY", key)


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_token_is_told_by_its_setting_and_not_shown(
    azurite: Azurite, address: str, way: str
) -> None:
    token = a_token(azurite).replace("sig=", "sig=AAAA")
    _refused(
        azurite.place(address, memory_sas_token=token),
        way,
        "FACTORY_MEMORY_SAS_TOKEN",
        token.split("sig=")[1],
    )


def _refused(place: Place, way: str, setting: str, secret: str) -> None:
    with pytest.raises(MemoryUnavailableError, match="refuses us") as caught:
        WAYS[way](LanceMemoryIndex(place, EMBEDDER), place)
    assert setting in caught.value.explain()
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_a_token_that_has_run_out_under_a_process_is_told_and_not_shown(
    azurite: Azurite, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = LanceMemoryIndex(azurite.place(address), EMBEDDER)
    index.upsert(TENANT, rows_of(1))
    token = a_token(azurite).replace("sig=", "sig=AAAA")
    place = azurite.place(address, memory_sas_token=token)
    # It was good when it was last asked.
    monkeypatch.setattr(type(place.ground), "has", was_there)
    with pytest.raises(MemoryUnavailableError, match="refuses us") as caught:
        found(LanceMemoryIndex(place, EMBEDDER))
    assert token.split("sig=")[1] not in "".join(traceback.format_exception(caught.value))


def was_there(container: Container, folder: str) -> bool:
    del container, folder
    return True


def test_a_token_opens_it(azurite: Azurite, address: str) -> None:
    place = azurite.place(address, memory_sas_token=a_token(azurite, write=True, delete=True))
    index = LanceMemoryIndex(place, EMBEDDER)
    rows = rows_of(2)
    index.upsert(TENANT, rows)
    assert found(index) == ids_of(rows)
    assert index.tenants() == (TENANT,)
    index.forget(TENANT, ids_of(rows)[:1])
    assert found(index) == ids_of(rows)[1:]
    # To drop it is one request for many blobs, which Azurite does not do for a token.


def test_a_container_that_is_not_there_holds_nothing_and_is_made_by_who_writes(
    azurite: Azurite, address: str
) -> None:
    place = azurite.place(address)
    index = LanceMemoryIndex(place, EMBEDDER)
    assert found(index) == []
    assert index.tenants() == ()
    assert index.size(TENANT).bytes_used == 0
    assert not container_of(azurite, address).exists(), "asking makes none"
    index.upsert(TENANT, rows_of(1))
    assert len(found(index)) == 1

    container_of(azurite, address).delete_container()
    with pytest.raises(MemoryUnavailableError, match="container"):
        index.upsert(TENANT, rows_of(1))
    assert index.replace(TENANT, rows_of(2)) == 2, "as `factory memory rebuild` does"
    assert len(found(index)) == 2


def test_one_that_may_not_be_made_is_told_of(azurite: Azurite, address: str) -> None:
    place = azurite.place(address, memory_sas_token=a_token(azurite))
    for ask in (lambda: check_place(place), lambda: WAYS["upsert"](_index(place), place)):
        with pytest.raises(MemoryUnavailableError, match="may not make one") as caught:
            ask()
        assert "az storage container create" in caught.value.explain()


def _index(place: Place) -> LanceMemoryIndex:
    return LanceMemoryIndex(place, EMBEDDER)


def test_what_it_takes_is_counted_and_a_dropped_tenant_takes_nothing(
    azurite: Azurite, address: str
) -> None:
    place = azurite.place(address)
    index = LanceMemoryIndex(place, EMBEDDER)
    index.upsert(TENANT, rows_of(1))
    with container_of(azurite, address) as container:
        sizes = [blob.size for blob in container.list_blobs()]
        taken = index.size(TENANT)
        assert (taken.files, taken.bytes_used) == (len(sizes), sum(sizes))
        index.drop(TENANT)
        assert list(container.list_blobs()) == []
    assert index.size(TENANT).files == 0


def test_a_table_that_has_lost_its_versions_is_not_taken_for_an_empty_one(
    azurite: Azurite, address: str
) -> None:
    place = azurite.place(address)
    index = LanceMemoryIndex(place, EMBEDDER)
    rows = rows_of(3)
    index.upsert(TENANT, rows)
    with container_of(azurite, address) as container:
        for blob in container.list_blobs():
            if "/_versions/" in blob.name:
                container.delete_blob(blob.name)
    other = LanceMemoryIndex(azurite.place(address), EMBEDDER)
    with pytest.raises(MemoryUnavailableError) as caught:
        found(other)
    assert "factory memory rebuild" in caught.value.explain()
    with pytest.raises(MemoryUnavailableError):
        other.upsert(TENANT, rows_of(1))
    assert other.replace(TENANT, rows) == 3
    assert found(other) == ids_of(rows)


def test_health_looks_at_the_container_without_lancedb(
    azurite: Azurite, address: str, tmp_path: Path
) -> None:
    def finding(**others: str) -> tuple[Health, str | None]:
        settings = azurite.settings(address, home=tmp_path, **others)
        found = open_runtime(settings).health.looks["knowledgeSystem"].begin().result(30)
        return found.health, found.about

    assert finding()[0] is Health.HEALTHY
    health, about = finding(memory_account_key=base64.b64encode(b"another").decode())
    assert health is Health.UNHEALTHY
    assert "refuses us" in str(about)
