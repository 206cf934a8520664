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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

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
TENANT = "local"


def main() -> tuple[Ratio, ...]:
    """Print the figures."""
    logging.disable(logging.WARNING)
    with local_server() as settings:
        times = asyncio.run(_measure(settings))
    for name, seconds in times.items():
        print(f"a run of {JOBS} no-op jobs, {name:<26} {median_ms(seconds):7.1f} ms")
    path = Ratio("a run with the memory / without", ratio_of(times, "with", "without"), 1.05)
    (half, half_kept), (whole, whole_kept) = _grown(RUNS // 2), _grown(RUNS)
    return (
        path,
        Ratio("disk of 1,000 runs / of 500", whole_kept.size / half_kept.size, 2.2),
        Ratio("… with all that was replaced since", whole.size / half.size, 2.2),
        Ratio("files of 1,000 runs / of 500, with all that", whole.files / half.files, 2.2),
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


class _Disk(NamedTuple):
    files: int
    size: int


def _grown(runs: int) -> tuple[_Disk, _Disk]:
    """What so many runs take: with what was replaced on the way, and once that is let go of."""
    with tempfile.TemporaryDirectory() as folder:
        index = _filled(Path(folder), runs)
        whole = _taken(Path(folder) / "memory")
        index.optimize(TENANT, timedelta(0))
        kept = _taken(Path(folder) / "memory")
    for disk, when in ((whole, "as they came"), (kept, "put in order")):
        print(f"{runs:5} runs, {when}: {disk.files:6} files, {disk.size / 2**20:7.1f} MiB")
    return whole, kept


def _taken(folder: Path) -> _Disk:
    sizes = [one.stat().st_size for one in folder.rglob("*") if one.is_file()]
    return _Disk(len(sizes), sum(sizes))


def _filled(folder: Path, runs: int) -> LanceMemoryIndex:
    clock, embedder = SystemClock(), WordsEmbedder()
    store = open_run_store(f"sqlite:///{folder / 'runs.db'}")
    index = LanceMemoryIndex(folder / "memory", embedder)
    models = Models(lambda: store, clock, "words", lambda _: embedder, lambda _: index)
    indexer = Indexer(store, clock, models, "bench:1")
    for number in range(1, runs + 1):
        with store.begin(TENANT) as tx:
            tx.save_memories([_summary(number)])
        indexer.catch_up(TENANT)
    store.close()
    return index


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
