"""What is LanceDB's own: the form of its tables, its folder, and what may go wrong with it."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Collection
from factory_runtime.memory.lance import LanceMemoryIndex
from tests.unit.lance_rows import Given, a_row, found, open_table, tables


def test_two_models_and_two_versions_stand_beside_each_other(tmp_path: Path) -> None:
    one, two = Given(), Given(version="2")
    wide = Given(model="wide", dimensions=3)
    LanceMemoryIndex(tmp_path, one).upsert("acme", [a_row("a"), a_row("b", 1)])
    LanceMemoryIndex(tmp_path, two).upsert("acme", [a_row("a")])
    LanceMemoryIndex(tmp_path, wide).upsert("acme", [a_row("a", dimensions=3)])
    assert found(LanceMemoryIndex(tmp_path, one)) == ["a", "b"]
    assert found(LanceMemoryIndex(tmp_path, two)) == ["a"]
    assert found(LanceMemoryIndex(tmp_path, wide), 3) == ["a"]
    LanceMemoryIndex(tmp_path, two).drop("acme")
    assert found(LanceMemoryIndex(tmp_path, two)) == []
    assert found(LanceMemoryIndex(tmp_path, one)) == ["a", "b"]
    LanceMemoryIndex(tmp_path, one).forget("acme", ["a"])
    assert found(LanceMemoryIndex(tmp_path, one)) == ["b"]
    assert found(LanceMemoryIndex(tmp_path, wide), 3) == [], "forgotten of all models"


def test_the_id_is_declared_as_key_and_carries_no_index(tmp_path: Path) -> None:
    LanceMemoryIndex(tmp_path, Given()).upsert("acme", [a_row("a")])
    table = open_table(tmp_path)
    field = table.schema.field("id")
    assert field.metadata == {b"lance-schema:unenforced-primary-key": b"true"}
    assert not field.nullable
    assert [index.columns for index in table.list_indices()] == [["words"]]


def test_an_upsert_is_one_commit_per_collection(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("first")])
    before = open_table(tmp_path).version
    index.upsert("acme", [a_row(f"m{i}") for i in range(50)])
    assert open_table(tmp_path).version == before + 1


def test_an_open_index_sees_what_others_wrote_since(tmp_path: Path) -> None:
    one, other = LanceMemoryIndex(tmp_path, Given()), LanceMemoryIndex(tmp_path, Given())
    one.upsert("acme", [a_row("a")])
    assert found(other) == ["a"]
    one.upsert("acme", [a_row("b")])
    assert found(other) == ["a", "b"]


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path / "memory", Given())
    assert found(index) == []
    assert index.count("acme", Collection.RUNS) == 0
    index.forget("acme", ["a"])
    assert not (tmp_path / "memory").exists()


def test_a_tenant_is_a_folder_of_its_own(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("a")])
    index.upsert("globex", [a_row("a", tenant_id="globex")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["acme", "globex"]


def test_a_table_that_a_kill_left_empty_is_made_whole(tmp_path: Path) -> None:
    name = tables(tmp_path).name
    (tmp_path / "acme" / f"{name}.lance" / "_versions").mkdir(parents=True)
    index = LanceMemoryIndex(tmp_path, Given())
    assert found(index) == []
    index.upsert("acme", [a_row("a")])
    assert found(index) == ["a"]


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("not a folder")
    index = LanceMemoryIndex(tmp_path / "memory", Given())
    for call in (
        lambda: index.upsert("acme", [a_row("a")]),
        lambda: found(index),
        lambda: index.forget("acme", ["a"]),
        lambda: index.count("acme", Collection.RUNS),
        lambda: index.replace("acme", [a_row("a")]),
        index.tenants,
    ):
        with pytest.raises(MemoryUnavailableError, match="memory"):
            call()


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_row("a")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(MemoryUnavailableError):
            index.upsert("acme", [a_row("b")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found(index) == ["a"]
    index.upsert("acme", [a_row("b")])
    assert found(index) == ["a", "b"]


def test_a_user_is_not_warned_of_what_is_in_order(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from tests.unit.lance_rows import Given, LanceMemoryIndex, a_row

        print(LanceMemoryIndex(Path(sys.argv[1]), Given()).replace("acme", [a_row("a")]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_forked_process_is_told_instead_of_crashing(tmp_path: Path) -> None:
    script = """
        import os, sys
        from pathlib import Path
        from factory_runtime.domain.errors import MemoryUnavailableError
        from factory_runtime.domain.memory import Collection
        from factory_runtime.memory.in_memory import WordsEmbedder
        from factory_runtime.memory.lance import LanceMemoryIndex

        folder = Path(sys.argv[1])
        (folder / "acme").mkdir()
        index = LanceMemoryIndex(folder, WordsEmbedder())
        index.count("acme", Collection.RUNS)
        child = os.fork()
        if child == 0:
            try:
                index.count("acme", Collection.RUNS)
            except MemoryUnavailableError as error:
                os._exit(42 if "fork" in str(error) else 2)
            os._exit(1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], check=False
    )
    assert done.returncode == 42


def test_importing_the_memory_imports_nothing_heavy() -> None:
    script = """
        import sys
        import factory_runtime.memory.embedders.minilm
        import factory_runtime.memory.in_memory
        import factory_runtime.memory.lance
        import factory_runtime.services.recall
        heavy = {"lancedb", "pyarrow", "numpy", "tokenizers", "safetensors"} & set(sys.modules)
        sys.exit(f"imported {heavy}" if heavy else 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_memory_that_another_process_made_anew_is_read_on(tmp_path: Path) -> None:
    reader, writer = LanceMemoryIndex(tmp_path, Given()), LanceMemoryIndex(tmp_path, Given())
    writer.upsert("acme", [a_row("a")])
    assert found(reader) == ["a"]
    writer.replace("acme", [a_row("b")])
    assert found(reader) == ["b"]
    writer.drop("acme")
    assert found(reader) == []
    writer.upsert("acme", [a_row("c")])
    assert found(reader) == ["c"]
    writer.forget("acme", ["c"])
    writer.upsert("acme", [a_row("d")])
    assert found(reader) == ["d"]
