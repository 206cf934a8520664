"""What is told of a memory: how much it is, how far its index lags, and what it takes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from factory_runtime.domain.errors import SettingsError
from factory_runtime.domain.memory import Collection, Kind, MemoryUse, Reuse
from factory_runtime.domain.run import RunStatus
from factory_runtime.memory.disk import MemoryDisk
from factory_runtime.memory.folder import Folder
from factory_runtime.services.memory_stats import memory_stats
from factory_runtime.services.migrate_memory import Migrator
from tests.builders import NOON, TENANT, a_memory, a_run
from tests.memories import HERE, Library
from tests.small_factory import SmallFactory


def test_it_tells_what_there_is_what_waits_and_what_was_used(factory: SmallFactory) -> None:
    library = Library(factory.store, factory.clock)
    library.learn(a_memory(text="one"), a_memory(text="two"))
    library.indexer.catch_up(TENANT)
    late = a_memory(text="late", kind=Kind.CODE, created_at=factory.clock.now())
    library.learn(late)
    factory.clock.pass_time(timedelta(seconds=90))
    with factory.store.begin(TENANT) as tx:
        for run_id, status, used_at in (
            ("run-1", RunStatus.SUCCEEDED, NOON),
            ("run-2", RunStatus.FAILED, NOON),
            ("run-3", RunStatus.SUCCEEDED, None),
        ):
            tx.add_run(a_run(id=run_id, status=status))
            tx.add_uses([MemoryUse(TENANT, run_id, "a", late.id, "shop", 1, 0.5, NOON, used_at)])
    migrator = Migrator(factory.store, factory.clock, library.models, HERE)
    found = memory_stats(factory.store, factory.clock, library.models, migrator, TENANT)
    assert found.memories == {Kind.RUN: 2, Kind.CODE: 1}
    assert (found.unindexed, found.lag) == (1, timedelta(seconds=90))
    assert [(one.done, one.total) for one in found.models] == [(2, 3)]
    assert found.index is not None
    assert found.index.rows[Collection.RUNS] == 2
    assert found.reuse == Reuse(shown=3, used=2, succeeded=1)
    assert (line := factory.store.unindexed_line()) is not None
    assert (line.length, line.since) == (1, NOON)


def test_an_index_that_cannot_be_opened_is_told_of(factory: SmallFactory) -> None:
    library = Library(factory.store, factory.clock)
    library.embedders.clear()
    migrator = Migrator(factory.store, factory.clock, library.models, HERE)
    found = memory_stats(factory.store, factory.clock, library.models, migrator, TENANT)
    assert found.index is None
    assert "no embedder is called 'first'" in (found.problem or "")


def test_more_than_it_should_take_is_complained_of(tmp_path: Path) -> None:
    folder = tmp_path / "memory"

    def complaint(limit_mib: int | None) -> str | None:
        return MemoryDisk(lambda: Folder(folder), limit_mib).complaint()

    assert complaint(1) is None, "there is nothing yet"
    (folder / "acme").mkdir(parents=True)
    (folder / "acme/table").write_bytes(b"x" * 2 * 1024 * 1024)
    assert complaint(2) is None
    assert complaint(None) is None
    assert "takes 2 MiB, and should take 1" in (complaint(1) or "")


def test_a_place_that_is_none_takes_nothing_and_breaks_no_metrics() -> None:
    def none() -> Folder:
        raise SettingsError("FACTORY_MEMORY_URL is no place")

    disk = MemoryDisk(none, 1)
    assert (disk.used(), disk.complaint()) == (0, None)
