"""What it costs that every run is remembered: nothing on its way, and disk that grows with runs.

Runs of five no-op jobs one after the other without a pause, in a process that executes as `factory
up` does, with and without what is learned and indexed of them meanwhile. Then a thousand runs'
summaries, each indexed by itself as runs end, and what that leaves on the disk.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.engine import NoOp
from benchmarks.in_turns import Times, in_turns, median_ms
from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.domain.run import RunRequest, RunStatus
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.run_store import open_run_store
from factory_runtime.services.drain_outbox import Drained
from factory_runtime.services.index_memory import Indexer
from factory_runtime.services.memory_models import Models
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings

ROUNDS = 2
IN_A_ROW = 70.0
"""Seconds without a pause: an executing process that is never without a run learns every 30."""
JOBS = 5
RUNS = 1_000
TENANT = "local"
_LOOK = 0.02


def main() -> tuple[Ratio, ...]:
    """Print the figures."""
    logging.disable(logging.WARNING)
    with local_server() as settings:
        times = asyncio.run(_measure(settings))
    means = {name: statistics.fmean(seconds) for name, seconds in times.items()}
    for name, seconds in times.items():
        worst = 1e3 * statistics.quantiles(seconds, n=20)[18]
        told = (
            f"mean {1e3 * means[name]:6.1f}, median {median_ms(seconds):6.1f}, p95 {worst:6.1f} ms"
        )
        print(f"{len(seconds)} runs of {JOBS} no-op jobs, {name:<8} {told}", flush=True)
    path = Ratio("a run with the memory / without, mean", means["with"] / means["without"], 1.05)
    (half, half_kept), (whole, whole_kept) = _grown(RUNS // 2), _grown(RUNS)
    return (
        path,
        Ratio("disk of 1,000 runs / of 500", whole_kept.size / half_kept.size, 2.2),
        Ratio("… with all that was replaced since", whole.size / half.size, 2.2),
        Ratio("files of 1,000 runs / of 500, with all that", whole.files / half.files, 2.2),
    )


async def _measure(settings: Settings) -> Times:
    """Seconds from when each run was asked for until it had ended, by the record."""
    from deployments.dispatcher import Dispatcher

    _write_template(settings.root / "templates" / "five")
    settings = settings.model_copy(update={"template_folders": (settings.root / "templates",)})
    runtime = _Learning(settings, SystemClock(), {"no-op": NoOp()})
    stop = asyncio.Event()
    serving = asyncio.create_task(Dispatcher(runtime).serve(stop, lambda: True))
    times: dict[str, list[float]] = {"without": [], "with": []}

    async def runs(name: str) -> None:
        runtime.learns, before = name == "with", runtime.lessons
        begun = time.monotonic()
        while time.monotonic() < begun + IN_A_ROW:
            times[name].append(await _seconds_of_run(runtime))
        if (runtime.lessons > before) != runtime.learns:
            sys.exit(f"{runtime.lessons - before} times something was learned, {name} the memory")
        # Nothing of these is learned beside the next.
        await asyncio.to_thread(runtime.learn)

    ways = {name: partial(runs, name) for name in times}
    await in_turns(ways, rounds=0)  # what is imported and loaded once is no run's
    for seconds in times.values():
        seconds.clear()
    await in_turns(ways, ROUNDS - 1)
    stop.set()
    await serving
    return times


class _Learning(Runtime):
    """Can be told to learn nothing; all else is done after a run as ever.

    Attributes:
        lessons: how often something was learned.
    """

    learns = True
    lessons = 0

    def learn(self, within: timedelta | None = None) -> Drained:
        learns = self.learns
        learned = super().learn(within)
        self.lessons += learns and learned != Drained()
        return learned

    @property
    def learning_handlers(self) -> Mapping[str, Callable[[Any], None]]:
        handlers = super().learning_handlers
        return handlers if self.learns else dict.fromkeys(handlers, lambda _message: None)


async def _seconds_of_run(runtime: Runtime) -> float:
    run = request_run(runtime.desk, RunRequest(TENANT, "bench", "five", {}, "bench"))
    while run.completed_at is None:
        await asyncio.sleep(_LOOK)
        with runtime.store.begin(TENANT, read_only=True) as tx:
            run = tx.get_run(run.id)
    if run.status is not RunStatus.SUCCEEDED:
        sys.exit(f"the run is {run.status}: {run.error}")
    return (run.completed_at - run.requested_at).total_seconds()


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
