"""A memory on LanceDB is put in order, made anew, and lets go of what is forgotten."""

from __future__ import annotations

import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Collection, Kind
from factory_runtime.memory.lance import LanceMemoryIndex, Place, upkeep
from factory_runtime.memory.lance.spool import Spool
from factory_runtime.memory.lance.tables import Tables
from tests.unit.lance_rows import Given, a_row, all_rows, files_with, found, tables


def damage(folder: Path, how: str) -> None:
    """To the one table with runs, its files and what they say of each other."""
    table = folder / "acme" / f"{tables(folder).name}.lance"
    part, _, what = how.partition(" ")
    if what == "gone":
        shutil.rmtree(table / part)
        return
    for file in (table / part).rglob("*"):
        if file.is_file():
            file.write_bytes(b"" if what == "empty" else b"garbage" * 10)


DAMAGES = [f"{part} {what}" for part in ("_versions", "data") for what in ("empty", "bad", "gone")]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_memory_says_so_and_is_made_anew(tmp_path: Path, how: str) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("a")])
    index.upsert("acme", [a_row("template", kind=Kind.TEMPLATE)])
    assert found(index) == ["a", "template"]
    damage(tmp_path, how)
    for reader in (index, LanceMemoryIndex(tmp_path, Given())):
        with pytest.raises(MemoryUnavailableError, match=str(tmp_path)) as caught:
            found(reader)
        assert "factory memory rebuild" in (caught.value.hint or "")
    assert index.replace("acme", [a_row("a"), a_row("b", 1)]) == 2
    assert found(index) == ["a", "b"]
    index.upsert("acme", [a_row("c")])
    assert found(LanceMemoryIndex(tmp_path, Given())) == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["_versions gone", "data bad"])
def test_a_damaged_memory_can_be_dropped(tmp_path: Path, how: str) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("a")])
    damage(tmp_path, how)
    index.drop("acme")
    assert index.tenants() == ()
    assert found(index) == []


def test_of_a_tenant_all_goes_also_what_nobody_knows_of_or_can_read(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("a", text="canary")])
    damage(tmp_path, "_versions bad")
    LanceMemoryIndex(tmp_path, Given(model="other")).upsert("acme", [a_row("a", text="canary")])
    LanceMemoryIndex(tmp_path, Given(version="2")).drop_all("acme")
    assert not (tmp_path / "acme").exists()
    assert found(index) == []


def test_many_small_writes_become_one_file_and_what_was_replaced_goes(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    for number in range(12):
        index.upsert("acme", [a_row(f"m-{number}"), a_row("same")])
    before = index.size("acme")
    index.optimize("acme", timedelta(days=1))
    kept = index.size("acme")
    index.optimize("acme", timedelta(0))
    after = index.size("acme")
    assert (before.rows[Collection.RUNS], after.rows[Collection.RUNS]) == (13, 13)
    assert before.versions >= 12
    assert kept.versions >= before.versions, "what somebody may still be reading stays"
    assert after.versions == 1
    assert len(list(tmp_path.rglob("*.lance/data/*"))) == 1
    assert (before.files or 0) > (after.files or 0)
    assert (before.bytes_used or 0) > (after.bytes_used or 0) > 0
    index.optimize("acme", timedelta(0))
    assert index.size("acme") == after, "nothing to do, nothing done"


def test_a_large_collection_gets_a_vector_index_and_new_rows_are_found_beside_it(
    tmp_path: Path,
) -> None:
    index = LanceMemoryIndex(tmp_path, Given(dimensions=16), vector_index_from=300)
    rows = [a_row(f"m-{number}", number % 16, 16, text=str(number)) for number in range(300)]
    index.upsert("acme", rows[:299])
    index.optimize("acme", timedelta(days=1))
    table = Tables(Place(str(tmp_path)), "given", "1", 16).find("acme")
    assert table.index_stats("vector_idx") is None
    index.upsert("acme", rows[299:])
    index.optimize("acme", timedelta(days=1))
    assert table.index_stats("vector_idx").num_unindexed_rows == 0
    index.upsert("acme", [a_row("new", 3, 16, outcome="failed")])
    assert index.size("acme").unindexed_rows == 1
    assert found(index, 16, outcome="failed") == ["new"]
    assert len(found(index, 16, limit=30)) > 30, "folded, but all looked at"
    index.optimize("acme", timedelta(days=1))
    assert index.size("acme").unindexed_rows == 0
    index.forget("acme", ["new"])
    assert table.index_stats("vector_idx").num_unindexed_rows == 0, "made anew with its table"


def test_what_is_forgotten_stands_in_no_file(tmp_path: Path) -> None:
    canary = "canaryofthemine"
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row(f"m-{number}") for number in range(40)])
    index.upsert("acme", [a_row("told", title=canary, facts={canary: 1}, project_id=canary)])
    index.upsert("acme", [a_row("told", text=f"once {canary}", path=f"{canary}.py")])
    index.optimize("acme", timedelta(days=1))
    other = LanceMemoryIndex(tmp_path, Given(model="other"))
    other.upsert("acme", [a_row("told", text=canary), a_row("m-1")])
    assert files_with(tmp_path, canary.encode())
    index.forget("acme", ["told"])
    assert files_with(tmp_path, canary.encode()) == []
    assert files_with(tmp_path, b"told of") != []
    assert (len(found(index, limit=40)), found(other)) == (40, ["m-1"])


def test_made_anew_it_equals_the_one_that_grew(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    rows = {
        f"m-{number}": a_row(f"m-{number}", number % 2, kind=kind, facts={"number": number})
        for number, kind in enumerate([*Kind] * 2)
    }
    for row in rows.values():
        index.upsert("acme", [replace(row, memory=replace(row.memory, title="before"))])
        index.upsert("acme", [row])
    index.forget("acme", ["m-3"])
    grown = all_rows(tmp_path)
    del rows["m-3"]
    assert index.replace("acme", reversed(rows.values())) == len(rows)
    assert all_rows(tmp_path) == grown
    assert len(grown) == len(rows)


def test_two_who_put_it_in_order_at_once_do_no_harm(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    for number in range(8):
        index.upsert("acme", [a_row(f"m-{number}")])

    def put_in_order(_: int) -> None:
        # Who is overtaken by the other says so.
        with suppress(MemoryUnavailableError):
            LanceMemoryIndex(tmp_path, Given()).optimize("acme", timedelta(days=1))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(put_in_order, range(2)))
    assert len(found(index, limit=20)) == 8
    index.optimize("acme", timedelta(0))
    assert len(found(index, limit=20)) == 8


def test_who_was_stopped_for_long_does_not_write_over_what_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("a"), a_row("b", 1)])

    class Stopped(Spool):
        """Its process was stopped, and another one thought that it was dead."""

        def read(self) -> Any:
            monkeypatch.undo()
            LanceMemoryIndex(tmp_path, Given()).upsert("acme", [a_row("new")])
            return super().read()

    for write in (
        lambda: index.forget("acme", ["a"]),
        lambda: index.replace("acme", [a_row("a")]),
    ):
        monkeypatch.setattr(upkeep, "Spool", Stopped)
        with pytest.raises(MemoryUnavailableError, match="meanwhile"):
            write()
        assert found(index) == ["a", "b", "new"]
    index.forget("acme", ["a"])
    assert found(index) == ["b", "new"]


def test_no_room_while_it_is_put_in_order_leaves_it_as_it_was(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    for number in range(6):
        index.upsert("acme", [a_row(f"m-{number}")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(MemoryUnavailableError):
            index.optimize("acme", timedelta(0))
        with pytest.raises(MemoryUnavailableError):
            index.forget("acme", ["m-1"])
        with pytest.raises(MemoryUnavailableError):
            index.replace("acme", [a_row("new")])
        assert len(found(index)) == 6
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    index.optimize("acme", timedelta(0))
    assert len(found(index)) == 6
    index.forget("acme", ["m-1"])
    assert len(found(index)) == 5
