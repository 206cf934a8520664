"""What it costs that every run is remembered: nothing on its way, and disk that grows with runs.

A run of five no-op jobs, with the memory catching up all the time beside it, and without. Then a
thousand runs' summaries, each indexed by itself as runs end, and what that leaves on the disk.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.engine import NoOp
from benchmarks.in_turns import Times, in_turns, median_ms, ratio_of
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.run_store import open_run_store
from factory_runtime.services.index_memory import Indexer
from factory_runtime.services.memory_models import Models
from factory_runtime.settings import Settings

ROUNDS = 9
JOBS = 5
RUNS = 1_000
LOOKS = 4
TENANT = "local"


def main() -> tuple[Ratio, ...]:
    """Print the figures."""
    logging.disable(logging.WARNING)
    with local_server() as settings:
        times = asyncio.run(_measure(settings))
    for name, seconds in times.items():
        print(f"a run of {JOBS} no-op jobs, {name:<26} {median_ms(seconds):7.1f} ms")
    path = Ratio("a run with the memory / without", ratio_of(times, "with", "without"), 1.05)
    with tempfile.TemporaryDirectory() as folder:
        sizes = list(_grown(Path(folder)))
    for runs, files, size in sizes:
        print(f"{runs:5} runs indexed: {files:6} files, {size / 2**20:7.1f} MiB")
    (_, half_files, half), (_, files, whole) = sizes[LOOKS // 2 - 1], sizes[-1]
    return (
        path,
        Ratio("disk of 1,000 runs / of 500", whole / half, 2.2),
        Ratio("files of 1,000 runs / of 500", files / half_files, 2.2),
    )


async def _measure(settings: Settings) -> Times:
    from benchmarks.engine_run import EngineInProcess

    _write_template(settings.root / "templates" / "five")
    settings = settings.model_copy(update={"template_folders": (settings.root / "templates",)})
    engine = EngineInProcess(settings, {"no-op": NoOp()})

    def run() -> Awaitable[None]:
        return engine.run("five", {}, TENANT)

    async def beside() -> None:
        with _remembering(engine.runtime):
            await run()

    return await in_turns({"without": run, "with": beside}, ROUNDS)


@contextmanager
def _remembering(runtime: Runtime) -> Generator[None]:
    """What runs before have left is learned and indexed at the same time, by another thread."""
    stop = threading.Event()

    def drain() -> None:
        while not stop.is_set():
            runtime.drain()
            stop.wait(0.05)

    thread = threading.Thread(target=drain, name="memory")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _write_template(folder: Path) -> None:
    folder.mkdir(parents=True)
    head = "id: five\nversion: 1.0.0\ntitle: Five\ndescription: Nothing.\nsteps:\n"
    steps = [f"  - {{name: job-{number}, type: no-op}}\n" for number in range(JOBS)]
    (folder / "template.yaml").write_text(head + "".join(steps))


def _grown(folder: Path) -> Generator[tuple[int, int, int]]:
    """Runs indexed so far, files and bytes, a few times on the way."""
    clock, embedder = SystemClock(), WordsEmbedder()
    store = open_run_store(f"sqlite:///{folder / 'runs.db'}")
    index = LanceMemoryIndex(folder / "memory", embedder)
    models = Models(lambda: store, clock, "words", lambda _: embedder, lambda _: index)
    indexer = Indexer(store, clock, models, "bench:1")
    for number in range(1, RUNS + 1):
        with store.begin(TENANT) as tx:
            tx.save_memories([_summary(number)])
        indexer.catch_up(TENANT)
        if number % (RUNS // LOOKS) == 0:
            files = [one for one in (folder / "memory").rglob("*") if one.is_file()]
            yield number, len(files), sum(one.stat().st_size for one in files)
    store.close()


def _summary(number: int) -> Memory:
    return Memory(
        id=f"mem-{number:06}",
        tenant_id=TENANT,
        kind=Kind.RUN,
        title=f"Microservice: service {number}",
        text=f"Microservice: A service repository. Asked for: service name: service-{number}.",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        project_id="shop",
        run_id=f"run-{number}",
        outcome="succeeded",
    )


if __name__ == "__main__":
    for ratio in main():
        print(ratio)
