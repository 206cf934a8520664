"""An index made anew is the one that grew; nothing is embedded for it that has a vector."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Kind
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import RecallQuery
from factory_runtime.run_store import open_run_store
from factory_runtime.services.memory_lock import HOLD, NAME, hold_memory
from factory_runtime.services.migrate_memory import Migrator
from factory_runtime.services.rebuild_memory import Rebuilder, Rebuilt
from tests.builders import TENANT, a_memory
from tests.memories import HERE, Library
from tests.small_factory import SettableClock, SmallFactory


class Keeper(Library):
    """Some memories of every kind, indexed as they came."""

    def __init__(self, factory: SmallFactory) -> None:
        super().__init__(factory.store, factory.clock)
        self.rebuilder = Rebuilder(factory.store, factory.clock, self.models, HERE)
        for number, kind in enumerate(Kind):
            self.learn(a_memory(kind=kind, text=f"number {number}"))
            self.indexer.catch_up(TENANT)
        first = self.all()[0]
        self.learn(replace(first, outcome="failed"))
        self.indexer.catch_up(TENANT)


@pytest.fixture
def keeper(factory: SmallFactory) -> Keeper:
    return Keeper(factory)


def test_it_equals_the_one_that_grew_row_by_row(keeper: Keeper) -> None:
    before, texts = keeper.index.rows(), list(keeper.embedder.texts)
    told: list[tuple[int, int]] = []

    def tell(model: str, done: int, total: int) -> None:
        told.append((done, total))

    keeper.index.drop(TENANT)
    assert keeper.rebuilder.rebuild(TENANT, tell) == Rebuilt(TENANT, 6, 1, 0)
    assert keeper.index.rows() == before
    assert keeper.embedder.texts == texts, "nothing is embedded again"
    assert told == [(6, 6)]
    assert keeper.unindexed() == []


def test_what_has_no_vector_gets_one(keeper: Keeper) -> None:
    keeper.learn(a_memory(text="late"))
    assert keeper.rebuilder.rebuild(TENANT) == Rebuilt(TENANT, 7, 1, 1)
    assert keeper.unindexed() == []


def test_rows_that_no_record_has_are_gone(keeper: Keeper) -> None:
    kept = keeper.index.ids()
    with keeper.store.begin(TENANT) as tx:
        tx.delete_memories(kept[:2])
    keeper.rebuilder.rebuild(TENANT)
    assert keeper.index.ids() == kept[2:]


def test_what_changes_meanwhile_is_indexed_after_it(keeper: Keeper) -> None:
    first = keeper.all()[0]

    def tell(model: str, done: int, total: int) -> None:
        keeper.learn(replace(first, text="changed meanwhile"))

    keeper.rebuilder.rebuild(TENANT, tell)
    assert keeper.unindexed() == [first.id]
    keeper.indexer.catch_up(TENANT)
    assert keeper.index.rows()[0].memory.text == "changed meanwhile"


class KilledError(BaseException):
    pass


def test_killed_on_the_way_the_indexer_or_the_next_one_finishes(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keeper.index.rows()

    def kill(*_: object) -> NoReturn:
        raise KilledError

    keeper.index.drop(TENANT)
    with monkeypatch.context() as patch:
        patch.setattr(keeper.index, "replace", kill)
        with pytest.raises(KilledError):
            keeper.rebuilder.rebuild(TENANT)
    keeper.indexer.catch_up(TENANT)
    assert keeper.index.rows() == before
    keeper.rebuilder.rebuild(TENANT)
    assert keeper.index.rows() == before


def test_of_a_tenant_without_memories_the_index_is_taken_away(keeper: Keeper) -> None:
    ids = keeper.index.ids()
    with keeper.store.begin(TENANT) as tx:
        tx.delete_memories(ids)
    keeper.learn(a_memory(tenant_id="umbrella"), tenant_id="umbrella")
    assert keeper.rebuilder.tenants() == (TENANT, "umbrella")
    assert keeper.rebuilder.rebuild(TENANT) == Rebuilt(TENANT, 0, 1, 0)
    assert keeper.index.tenants() == ()
    assert keeper.rebuilder.rebuild("nobody") == Rebuilt("nobody", 0, 0, 0)


def test_all_models_that_live_are_made_anew_also_where_one_is_not_installed(
    keeper: Keeper,
) -> None:
    migrator = Migrator(keeper.store, keeper.clock, keeper.models, HERE)
    _, index = keeper.add_model("second", "2")
    migrator.begin(TENANT, "second", "ada")
    migrator.build(TENANT, "words/2")
    before = index.rows()
    index.drop(TENANT)
    keeper.embedders.pop("second")
    assert keeper.rebuilder.rebuild(TENANT).models == 2
    assert index.rows() == before


def test_while_another_is_at_it_it_is_not_done(keeper: Keeper) -> None:
    now = keeper.clock.now()
    with keeper.store.begin(TENANT) as tx:
        assert tx.try_lock(NAME, "there:2-1", now, now + HOLD)
    with pytest.raises(MemoryUnavailableError, match="another process"):
        keeper.rebuilder.rebuild(TENANT)


# --- on LanceDB


@pytest.fixture
def on_disk(tmp_path: Path) -> Generator[tuple[Library, Path]]:
    with closing(open_run_store(f"sqlite:///{tmp_path / 'factory.db'}")) as store:
        library = Library(store, SettableClock())
        folder = tmp_path / "memory"
        library.open_index = lambda embedder: LanceMemoryIndex(folder, embedder)
        yield library, folder


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """All rows of all tables as they lie there."""
    import lancedb

    connect: Callable[..., Any] = lancedb.connect
    database = connect(str(folder / TENANT))
    rows = [
        {"table": name, **row}
        for name in database.list_tables().tables
        for row in database.open_table(name).to_arrow().to_pylist()
    ]
    return sorted(rows, key=lambda row: row["id"])


def test_on_disk_too_it_equals_the_one_that_grew_and_heals_what_is_damaged(
    on_disk: tuple[Library, Path],
) -> None:
    library, folder = on_disk
    for number, kind in enumerate(Kind):
        library.learn(a_memory(kind=kind, text=f"number {number}"))
        library.indexer.catch_up(TENANT)
    grown = rows_in(folder)
    assert len(grown) == 6
    rebuilder = Rebuilder(library.store, library.clock, library.models, HERE)

    rebuilder.rebuild(TENANT)
    assert rows_in(folder) == grown

    shutil.rmtree(folder)
    rebuilder.rebuild(TENANT)
    assert rows_in(folder) == grown

    for file in folder.rglob("*.lance"):
        if file.is_file():
            file.write_bytes(b"damaged")
    opened = library.models.of(TENANT)
    query = RecallQuery("number 1")
    (vector,) = opened.embedder.embed(["number 1"])
    with pytest.raises(MemoryUnavailableError) as told:
        library.open_index(opened.embedder).search(TENANT, query, vector)
    assert "factory memory rebuild" in (told.value.hint or "")
    rebuilder.rebuild(TENANT)
    assert rows_in(folder) == grown
    assert len(library.embedder.texts) == 7, "six texts and a query"


def test_what_is_forgotten_while_the_one_who_rebuilds_was_stopped_is_not_put_back(keeper: Keeper):
    gone = keeper.all()[0]
    keeper.index.drop(TENANT)

    def stopped(model: str, done: int, total: int) -> None:
        """For longer than the lock holds: another one takes its turn."""
        keeper.clock.pass_time(HOLD)
        with hold_memory(keeper.store, keeper.clock, TENANT, "there:2"):
            with keeper.store.begin(TENANT) as tx:
                tx.delete_memories([gone.id])
            keeper.index.forget(TENANT, [gone.id])

    with pytest.raises(MemoryUnavailableError, match="taken the memory"):
        keeper.rebuilder.rebuild(TENANT, stopped)
    assert gone.id not in keeper.index.ids()
    keeper.indexer.catch_up(TENANT)
    assert keeper.index.ids() == sorted(one.id for one in keeper.all())
