"""Writers of one memory that are killed, or that write the same rows at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory_runtime.domain.memory import Embedded, Kind, Memory
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex, Place
from factory_runtime.memory.lance.tables import Tables
from factory_runtime.ports import RecallQuery

EMBEDDER = WordsEmbedder()

# Each batch has rows that all write, and rows of its own. Prints a line after each upsert that returned; waits for a line on stdin before the first.
WRITER = """
    import sys
    from pathlib import Path
    from factory_runtime.memory.lance import LanceMemoryIndex
    from tests.recovery.test_memory_writers import EMBEDDER, a_batch

    folder, writer, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    index = LanceMemoryIndex(folder, EMBEDDER)
    import lancedb  # before the signal, so that all begin at once
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(rounds):
        own = f"{writer}-{number}"
        index.upsert("acme", [*a_batch("shared", title=own), *a_batch(own, title=own)])
        print(own, flush=True)
"""


def a_batch(prefix: str, title: str, size: int = 5) -> list[Embedded]:
    memory = Memory(
        id="",
        tenant_id="acme",
        kind=Kind.RUN,
        title=title,
        text=f"{prefix} {title}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    (vector,) = EMBEDDER.embed([memory.text])
    return [Embedded(replace(memory, id=f"{prefix}-{i}"), vector) for i in range(size)]


class Writer:
    """A process that writes batches."""

    def __init__(self, folder: Path, name: str, *, rounds: int) -> None:
        arguments = [str(folder), name, str(rounds)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def ready(self) -> None:
        assert self.line() == "ready"

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self.finish()

    def finish(self) -> int:
        self._process.communicate(timeout=60)
        return self._process.returncode


def ids_of(folder: Path) -> list[str]:
    tables = Tables(Place(str(folder)), EMBEDDER.model, EMBEDDER.version, EMBEDDER.dimensions)
    table = tables.find("acme")
    return table.search().select(["id"]).limit(100_000).to_arrow()["id"].to_pylist()


def doubled(ids: list[str]) -> list[str]:
    return [id_ for id_, times in Counter(ids).items() if times > 1]


@pytest.mark.parametrize("heard", [1, pytest.param(9, marks=pytest.mark.soak)])
def test_a_killed_writer_loses_no_row_and_the_one_after_it_writes_the_same_rows_once(
    tmp_path: Path, heard: int
) -> None:
    writer = Writer(tmp_path, "killed", rounds=100_000)
    writer.ready()
    writer.go()
    said = [writer.line() for _ in range(heard)]
    writer.kill()
    ids = ids_of(tmp_path)
    assert doubled(ids) == []
    assert {f"{prefix}-{i}" for prefix in ("shared", *said) for i in range(5)} <= set(ids)
    assert len(ids) % 5 == 0, "an upsert is there whole or not at all"

    index = LanceMemoryIndex(tmp_path, EMBEDDER)
    index.upsert("acme", a_batch("shared", "after"))
    assert sorted(ids_of(tmp_path)) == sorted(ids)
    (vector,) = EMBEDDER.embed(["shared after"])
    recalled = index.search("acme", RecallQuery("shared after", limit=5), vector)
    # Their texts are one.
    (shown,) = (r for r in recalled if r.likeness > 0.999)
    assert shown.memory.title == "after"
    assert {shown.memory.id, *shown.folded} == {f"shared-{i}" for i in range(5)}


@pytest.mark.soak
def test_processes_writing_shared_and_own_ids_at_once_lose_and_double_none(tmp_path: Path) -> None:
    # Neither finds a table: the race begins with making it.
    writers = [Writer(tmp_path, name, rounds=6) for name in ("one", "two")]
    for writer in writers:
        writer.ready()
    for writer in writers:
        writer.go()
    assert [writer.finish() for writer in writers] == [0, 0]
    ids = ids_of(tmp_path)
    assert doubled(ids) == []
    assert len(ids) == 5 + 2 * 6 * 5


def test_threads_writing_shared_and_own_ids_at_once_lose_and_double_none(tmp_path: Path) -> None:
    index = LanceMemoryIndex(tmp_path, EMBEDDER)

    def write(thread: int) -> None:
        for number in range(4):
            index.upsert("acme", [*a_batch("shared", "x"), *a_batch(f"{thread}-{number}", "x")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    ids = ids_of(tmp_path)
    assert doubled(ids) == []
    assert len(ids) == 5 + 4 * 4 * 5
