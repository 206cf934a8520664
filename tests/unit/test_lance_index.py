"""What is LanceDB's own: the form of its tables, its folder, and what may go wrong with it."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lancedb
import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.memory import Collection, Memory
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import RecallQuery


@dataclass
class Given:
    """An embedder that only says whose vectors they are."""

    model: str = "given"
    version: str = "1"
    dimensions: int = 2

    def embed(self, texts: Any) -> list[tuple[float, ...]]:
        raise NotImplementedError


def a_memory(id_: str, embedder: Given | None = None, **changes: Any) -> Memory:
    embedder = embedder or Given()
    values: dict[str, Any] = {
        "id": id_,
        "tenant_id": "acme",
        "collection": Collection.RUNS,
        "title": id_,
        "text": id_,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "embedding_model": embedder.model,
        "embedding_version": embedder.version,
        "vector": (1.0,) * embedder.dimensions,
    }
    return Memory(**{**values, **changes})


def found(index: LanceMemoryIndex, dimensions: int = 2) -> list[str]:
    recalled = index.search("acme", RecallQuery("q"), (1.0,) * dimensions)
    return [r.memory.id for r in recalled]


def open_table(folder: Path, name: str = "runs-2") -> Any:
    database: Any = lancedb.connect(str(folder / "acme"), read_consistency_interval=timedelta(0))
    return database.open_table(name)


def test_vectors_of_another_version_are_never_compared_with(tmp_path: Path) -> None:
    old, new = Given(version="1"), Given(version="2")
    LanceMemoryIndex(tmp_path, old).upsert("acme", [a_memory("a", old), a_memory("b", old)])
    after = LanceMemoryIndex(tmp_path, new)
    assert found(after) == []
    assert after.count("acme", Collection.RUNS) == 0
    after.upsert("acme", [a_memory("a", new)])
    assert found(after) == ["a"]
    assert found(LanceMemoryIndex(tmp_path, old)) == ["b"], "re-embedding an id replaces its row"


def test_a_model_of_other_dimensions_stands_beside_and_is_forgotten_with(tmp_path: Path) -> None:
    two, three = Given(), Given(model="wide", dimensions=3)
    narrow, wide = LanceMemoryIndex(tmp_path, two), LanceMemoryIndex(tmp_path, three)
    narrow.upsert("acme", [a_memory("a", two)])
    wide.upsert("acme", [a_memory("a", three), a_memory("b", three)])
    assert (found(narrow), found(wide, 3)) == (["a"], ["a", "b"])
    narrow.forget("acme", ["a"])
    assert (found(narrow), found(wide, 3)) == ([], ["b"])


def test_the_id_is_declared_as_key_and_carries_no_index(tmp_path: Path) -> None:
    LanceMemoryIndex(tmp_path, Given()).upsert("acme", [a_memory("a")])
    table = open_table(tmp_path)
    field = table.schema.field("id")
    assert field.metadata == {b"lance-schema:unenforced-primary-key": b"true"}
    assert not field.nullable
    assert list(table.list_indices()) == []


def test_an_upsert_is_one_commit_per_collection(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_memory("first")])
    before = open_table(tmp_path).version
    index.upsert("acme", [a_memory(f"m{i}") for i in range(50)])
    assert open_table(tmp_path).version == before + 1


def test_an_open_index_sees_what_others_wrote_since(tmp_path: Path) -> None:
    one, other = LanceMemoryIndex(tmp_path, Given()), LanceMemoryIndex(tmp_path, Given())
    one.upsert("acme", [a_memory("a")])
    assert found(other) == ["a"]
    one.upsert("acme", [a_memory("b")])
    assert found(other) == ["a", "b"]


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path / "memory", Given())
    assert found(index) == []
    assert index.count("acme", Collection.RUNS) == 0
    index.forget("acme", ["a"])
    assert not (tmp_path / "memory").exists()


def test_a_tenant_is_a_folder_of_its_own(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_memory("a")])
    index.upsert("globex", [a_memory("a", tenant_id="globex")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["acme", "globex"]


def test_a_table_that_a_kill_left_empty_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / "acme" / "runs-2.lance" / "_versions").mkdir(parents=True)
    index = LanceMemoryIndex(tmp_path, Given())
    assert found(index) == []
    index.upsert("acme", [a_memory("a")])
    assert found(index) == ["a"]


@pytest.mark.parametrize("part", ["_versions", "data"])
@pytest.mark.parametrize("garbage", [b"", b"garbage" * 10])
def test_a_damaged_memory_says_so_and_is_not_touched(
    tmp_path: Path, part: str, garbage: bytes
) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_memory("a")])
    for file in (tmp_path / "acme" / "runs-2.lance" / part).rglob("*"):
        file.write_bytes(garbage)
    with pytest.raises(MemoryUnavailableError, match=str(tmp_path)) as caught:
        found(index)
    assert caught.value.hint is not None
    with pytest.raises(MemoryUnavailableError):
        index.upsert("acme", [a_memory("a")])


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("not a folder")
    index = LanceMemoryIndex(tmp_path / "memory", Given())
    for call in (
        lambda: index.upsert("acme", [a_memory("a")]),
        lambda: found(index),
        lambda: index.forget("acme", ["a"]),
        lambda: index.count("acme", Collection.RUNS),
    ):
        with pytest.raises(MemoryUnavailableError, match="memory"):
            call()


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    index.upsert("acme", [a_memory("a")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(MemoryUnavailableError):
            index.upsert("acme", [a_memory("b")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found(index) == ["a"]
    index.upsert("acme", [a_memory("b")])
    assert found(index) == ["a", "b"]


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
        import factory_runtime.services.remember
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


def test_many_small_writes_become_one_file(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, Given())
    for number in range(12):
        index.upsert("acme", [a_memory(f"m-{number}")])
    pieces = len(list(tmp_path.rglob("*.lance/data/*")))
    index.optimize("acme", timedelta(milliseconds=1))
    assert pieces >= 12
    assert len(list(tmp_path.rglob("*.lance/data/*"))) == 1
    assert index.count("acme", Collection.RUNS) == 12
