"""How fast memory takes in: embedding with one BLAS thread against the default, and indexing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from benchmarks.ratio import Ratio
from factory_runtime.domain.memory import Embedded, Kind, Memory
from factory_runtime.memory.blas import blas_threads
from factory_runtime.memory.embedders import minilm
from factory_runtime.memory.embedders.minilm import MiniLmEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex

QUERY = "multi-tenant user management with role-based access"
DOCUMENT = (
    "Microservice: A service repository with domain, infrastructure, pipelines and docs.\n"
    "Asked for: service name: orders; entities: order, customer, payment; database: postgres;"
    " purpose: takes orders from the shop, reserves stock and asks billing for an invoice."
)
DOCUMENTS = 32
ROWS = 10_000
REPEATS = 15


@contextmanager
def _default_threads() -> Generator[None]:
    yield


def _seconds(action: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """Median wall and processor time of one call, in seconds."""
    walls: list[float] = []
    processor: list[float] = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(processor)


def embedding_figures(embedder: MiniLmEmbedder) -> Ratio:
    """One thread and the default in turns, so that a busy machine is unfair to neither."""
    documents = [f"{DOCUMENT} {number}" for number in range(DOCUMENTS)]
    rounds: dict[str, list[tuple[float, float, float]]] = {"one": [], "default": []}
    embedder.embed([QUERY])
    for _ in range(3):
        for name, found in rounds.items():
            limit = mock.patch.object(minilm, "one_blas_thread", _default_threads)
            with limit if name == "default" else _default_threads():
                wall, cpu = _seconds(lambda: embedder.embed([QUERY]))
                batch, _ = _seconds(lambda: embedder.embed(documents), 1)
                found.append((wall, cpu, batch))
    figures = {
        name: tuple(statistics.median(part) for part in zip(*found, strict=True))
        for name, found in rounds.items()
    }
    for name, (wall, cpu, batch) in figures.items():
        print(
            f"embed, {name} BLAS thread{'s' if name == 'default' else ''}"
            f" ({1 if name == 'one' else blas_threads()}): query {wall * 1e3:.1f} ms"
            f" ({cpu * 1e3:.1f} ms of processor), {DOCUMENTS / batch:.0f} documents/s"
        )
    one, default = figures["one"], figures["default"]
    print(
        f"one / default: query {one[0] / default[0]:.2f} (processor {one[1] / default[1]:.2f}),"
        f" documents/s {default[2] / one[2]:.2f}"
    )
    return Ratio("embedding a query: one BLAS thread / the default", one[0] / default[0])


def index_figures(embedder: MiniLmEmbedder, folder: Path) -> None:
    """A tenant with many rows, and a run's own row put in."""
    (vector,) = embedder.embed([DOCUMENT])
    row = Memory(
        id="",
        tenant_id="bench",
        kind=Kind.RUN,
        title="Microservice",
        text=DOCUMENT,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        project_id="shop",
    )
    rows = [Embedded(replace(row, id=f"mem-{number}"), vector) for number in range(ROWS)]
    index = LanceMemoryIndex(folder, embedder)
    begun = time.perf_counter()
    index.upsert("bench", rows)
    print(f"index: {ROWS} rows in {time.perf_counter() - begun:.1f} s, one commit")
    again, _ = _seconds(lambda: index.upsert("bench", rows[:1]), 5)
    print(f"index: one row into {ROWS} in {again * 1e3:.0f} ms")


def main() -> tuple[Ratio, ...]:
    """Print the figures."""
    embedder = MiniLmEmbedder()
    begun = time.perf_counter()
    embedder.embed(["load"])
    print(f"model loaded and first text embedded in {(time.perf_counter() - begun) * 1e3:.0f} ms")
    threads = embedding_figures(embedder)
    with tempfile.TemporaryDirectory() as folder:
        index_figures(embedder, Path(folder))
    return (threads,)


if __name__ == "__main__":
    main()
