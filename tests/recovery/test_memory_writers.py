"""Writers of one memory that are killed, or that write the same rows at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lancedb
import pytest

from factory_runtime.domain.memory import Collection, Memory
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import RecallQuery
from factory_runtime.services.remember import embed_missing

EMBEDDER = WordsEmbedder()

# Prints a line after each upsert that returned; waits for a line on stdin before the first.
WRITER = """
    import sys
    from pathlib import Path
    from factory_runtime.memory.lance import LanceMemoryIndex
    from tests.recovery.test_memory_writers import EMBEDDER, a_batch

    folder, writer, rounds, own = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    index = LanceMemoryIndex(folder, EMBEDDER)
    import lancedb  # before the signal, so that all begin at once
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(rounds):
        prefix = f"{writer}-{number}" if own == "own" else "shared"
        index.upsert("acme", a_batch(prefix, title=f"{writer} {number}"))
        print(f"{prefix} {number}", flush=True)
"""


def a_batch(prefix: str, title: str, size: int = 5) -> list[Memory]:
    memory = Memory(
        id="",
        tenant_id="acme",
        collection=Collection.RUNS,
        title=title,
        text=f"{prefix} {title}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return embed_missing(EMBEDDER, [replace(memory, id=f"{prefix}-{i}") for i in range(size)])


class Writer:
    """A process that writes batches."""

    def __init__(self, folder: Path, name: str, *, rounds: int, own: bool) -> None:
        arguments = [str(folder), name, str(rounds), "own" if own else "shared"]
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

    def kill(self) -> list[str]:
        """What it had said before it was killed."""
        self._process.kill()
        return self._end()

    def finish(self) -> int:
        self._end()
        return self._process.returncode

    def _end(self) -> list[str]:
        said, _ = self._process.communicate(timeout=60)
        return said.splitlines()


def ids_of(folder: Path) -> list[str]:
    database: Any = lancedb.connect(str(folder / "acme"), read_consistency_interval=timedelta(0))
    table = database.open_table(f"runs-{EMBEDDER.dimensions}")
    return table.search().select(["id"]).limit(100_000).to_arrow()["id"].to_pylist()


def doubled(ids: list[str]) -> list[str]:
    return [id_ for id_, times in Counter(ids).items() if times > 1]


@pytest.mark.parametrize("heard", [1, 9])
def test_a_killed_writer_loses_no_row_that_it_had_written(tmp_path: Path, heard: int) -> None:
    writer = Writer(tmp_path, "w", rounds=100_000, own=True)
    writer.ready()
    writer.go()
    said = [writer.line() for _ in range(heard)]
    said += writer.kill()
    ids = ids_of(tmp_path)
    assert doubled(ids) == []
    # A last line may have been cut by the kill; the ones before it are whole.
    written = {f"{line.split()[0]}-{i}" for line in said[:heard] for i in range(5)}
    assert written <= set(ids)
    assert len(ids) % 5 == 0, "an upsert is there whole or not at all"


def test_the_one_after_a_killed_writer_writes_the_same_rows_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "killed", rounds=100_000, own=False)
    writer.ready()
    writer.go()
    writer.line()
    writer.kill()
    LanceMemoryIndex(tmp_path, EMBEDDER).upsert("acme", a_batch("shared", "after"))
    assert sorted(ids_of(tmp_path)) == [f"shared-{i}" for i in range(5)]
    index = LanceMemoryIndex(tmp_path, EMBEDDER)
    (vector,) = EMBEDDER.embed(["shared after"])
    recalled = index.search("acme", RecallQuery("shared after"), vector)
    assert {r.memory.title for r in recalled} == {"after"}


def test_two_processes_writing_the_same_ids_at_once_leave_each_once(tmp_path: Path) -> None:
    # Neither finds a table: the race begins with making it.
    writers = [Writer(tmp_path, name, rounds=12, own=False) for name in ("one", "two")]
    for writer in writers:
        writer.ready()
    for writer in writers:
        writer.go()
    assert [writer.finish() for writer in writers] == [0, 0]
    assert sorted(ids_of(tmp_path)) == [f"shared-{i}" for i in range(5)]


def test_two_processes_writing_their_own_ids_at_once_lose_none(tmp_path: Path) -> None:
    writers = [Writer(tmp_path, name, rounds=12, own=True) for name in ("one", "two")]
    for writer in writers:
        writer.ready()
    for writer in writers:
        writer.go()
    assert [writer.finish() for writer in writers] == [0, 0]
    ids = ids_of(tmp_path)
    assert doubled(ids) == []
    assert len(ids) == 2 * 12 * 5


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
