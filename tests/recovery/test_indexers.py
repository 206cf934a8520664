"""Two processes that index one tenant's memory, one of which is killed amid it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import RunStore
from factory_runtime.run_store import open_run_store
from factory_runtime.services.index_memory import Indexer
from factory_runtime.services.memory_models import Models
from factory_runtime.telemetry import worker_name
from tests.builders import TENANT, a_memory

# Prints a line when its first batch is in, and stops there until it is killed or told to go on.
INDEXER = """
    import sys
    from pathlib import Path
    from tests.recovery.test_indexers import indexer_of
    from factory_runtime.memory.lance import LanceMemoryIndex
    from factory_runtime.run_store import open_run_store
    from factory_runtime.services import index_memory

    index_memory.BATCH = 7
    folder, stops = Path(sys.argv[1]), sys.argv[2] == "stops"

    class Stopping(LanceMemoryIndex):
        def upsert(self, tenant_id, rows):
            super().upsert(tenant_id, rows)
            if stops:
                print("in", flush=True)
                sys.stdin.readline()

    store = open_run_store(f"sqlite:///{folder / 'factory.db'}")
    if stops:
        import lancedb  # the other finds the lock taken, and needs none
    print("ready", flush=True)
    sys.stdin.readline()
    print(indexer_of(store, folder, Stopping).catch_up("acme"), flush=True)
"""


def indexer_of(
    store: RunStore, folder: Path, index: type[LanceMemoryIndex] = LanceMemoryIndex
) -> Indexer:
    clock = SystemClock()
    models = Models(
        lambda: store,
        clock,
        "words",
        lambda _: WordsEmbedder(),
        lambda embedder: index(folder / "memory", embedder),
    )
    return Indexer(store, clock, models, worker_name())


class Process:
    def __init__(self, folder: Path, *, stops: bool) -> None:
        arguments = [str(folder), "stops" if stops else "goes on"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(INDEXER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        with self._process:
            self._process.wait()


def test_an_indexer_that_is_killed_leaves_nothing_out_and_nothing_twice(tmp_path: Path) -> None:
    memories = [a_memory(text=f"number {number}") for number in range(20)]
    with closing(open_run_store(f"sqlite:///{tmp_path / 'factory.db'}")) as store:
        with store.begin(TENANT) as tx:
            tx.save_memories(memories)
        killed, other = Process(tmp_path, stops=True), Process(tmp_path, stops=False)
        assert (killed.line(), other.line()) == ("ready", "ready")
        killed.go()
        assert killed.line() == "in", "its first batch is in the index, and not marked"
        other.go()
        assert "busy=1" in other.line(), "one at a time is at it"
        other.wait()
        killed.kill()
        with store.begin(TENANT) as tx:
            assert len(tx.unindexed_memories(100)) == 20
        assert indexer_of(store, tmp_path).catch_up(TENANT).indexed == 20
        with store.begin(TENANT) as tx:
            assert tx.unindexed_memories(100) == ()
    assert ids_in(tmp_path / "memory") == Counter(memory.id for memory in memories)


def ids_in(folder: Path) -> Counter[str]:
    import lancedb

    connect: Any = lancedb.connect
    database = connect(str(folder / TENANT))
    return Counter(
        one
        for name in database.list_tables().tables
        for one in database.open_table(name).to_arrow()["id"].to_pylist()
    )
