"""How fast the memory answers among 100,000 rows of 50 tenants, and what it misses.

Beside it, on the same rows and questions: LanceDB by itself, one table with an index of tenants to
filter by, without and with an index of vectors; and Chroma, one collection with the same filter.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.memory_rows import BEST, DIMENSIONS, Answers, Rows, ask, words_of
from benchmarks.ratio import Ratio
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.memory import Collection, Embedded, Kind, Memory
from factory_runtime.memory.embedders.minilm import MiniLmEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import RecallQuery
from factory_runtime.run_store import open_run_store
from factory_runtime.services.recall import Recaller

MANY_TENANTS = Rows(tenants=50, each=2_000)
ONE_TENANT = Rows(tenants=1, each=100_000)
KINDS = (Kind.RUN, Kind.TEMPLATE, Kind.CODE, Kind.DOCUMENT)
PEERS_PYTHON = Path(".venv-peers/bin/python")
_AT = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> tuple[Ratio, ...]:
    """Print the figures."""
    embedder = MiniLmEmbedder()
    embedder.embed(["load"])
    with tempfile.TemporaryDirectory() as folder:
        many = _ours(Path(folder), embedder, MANY_TENANTS, "ours, 50 tenants of 2,000")
    with tempfile.TemporaryDirectory() as folder:
        one = _ours(Path(folder), embedder, ONE_TENANT, "ours, 1 of 100,000")
    with tempfile.TemporaryDirectory() as folder:
        exact, indexed = _raw_lance(Path(folder), MANY_TENANTS)
    ratios = [
        Ratio("search with embedding, 50 tenants / 40 ms", many.whole.p50 / 40, 1),
        Ratio("search with embedding, one tenant / 40 ms", one.whole.p50 / 40),
        Ratio("recall@10, 50 tenants", many.meaning.recall, 0.97, at_least=True),
        Ratio("recall@10, one tenant of 100,000", one.meaning.recall, 0.97, at_least=True),
        Ratio("our search by meaning / raw LanceDB's, exact", many.meaning.p50 / exact.p50),
        Ratio("our search by meaning / raw LanceDB's, index", many.meaning.p50 / indexed.p50),
    ]
    if chroma := _chroma():
        print(chroma, flush=True)
        ratios.append(Ratio("our search by meaning / Chroma's", many.meaning.p50 / chroma.p50))
    else:
        print(f"Chroma: not measured, there is no {PEERS_PYTHON} (`make bench` makes it)")
    return tuple(ratios)


class _Ours(NamedTuple):
    """The index by meaning alone, by meaning and words, and all that a user waits for."""

    meaning: Answers
    both: Answers
    whole: Answers


def _ours(folder: Path, embedder: MiniLmEmbedder, rows: Rows, name: str) -> _Ours:
    store = open_run_store(f"sqlite:///{folder / 'runs.db'}")
    index = LanceMemoryIndex(folder / "memory", embedder)
    asked = _Asked(embedder)
    recaller = Recaller(lambda: store, SystemClock(), lambda _: (asked, index))
    begun = time.perf_counter()
    for tenant in range(rows.tenants):
        for some in _in_parts(list(_embedded(rows, tenant)), 5_000):
            with store.begin(f"tenant-{tenant}") as tx:
                tx.save_memories([one.memory for one in some])
            index.upsert(f"tenant-{tenant}", some)
        index.optimize(f"tenant-{tenant}", keep=timedelta(0))
    print(f"{name}: indexed and optimized in {time.perf_counter() - begun:.0f} s", flush=True)

    def search(tenant: int, vector: Any, text: str, weight: float | None) -> set[int]:
        query = RecallQuery(text, tuple(Collection), limit=BEST, words_weight=weight)
        found = index.search(f"tenant-{tenant}", query, vector.tolist())
        return {int(hit.memory.id) for hit in found}

    def recall(tenant: int, vector: Any, text: str) -> set[int]:
        asked.vector = tuple(vector.tolist())
        found = recaller.recall(
            f"tenant-{tenant}", RecallQuery(text, tuple(Collection), limit=BEST)
        )
        return {int(hit.memory.id) for hit in found}

    answers = _Ours(
        _told(ask(f"{name}, by meaning alone", rows, lambda t, v, w: search(t, v, w, 0))),
        _told(ask(f"{name}, by meaning and words", rows, lambda t, v, w: search(t, v, w, None))),
        _told(ask(f"{name}, embedded and confirmed by the record", rows, recall)),
    )
    store.close()
    return answers


class _Asked:
    """Takes as long as the embedder; and answers with the vector that was made for the question."""

    def __init__(self, embedder: MiniLmEmbedder) -> None:
        self._embedder = embedder
        self.model, self.version = embedder.model, embedder.version
        self.dimensions = embedder.dimensions
        self.vector: tuple[float, ...] = ()

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        self._embedder.embed(texts)
        return [self.vector for _ in texts]


def _told(answers: Answers) -> Answers:
    print(answers, flush=True)
    return answers


def _embedded(rows: Rows, tenant: int) -> Iterator[Embedded]:
    for number, vector in enumerate(rows.of_tenant(tenant).tolist()):
        memory = Memory(
            id=f"{number:06}",
            tenant_id=f"tenant-{tenant}",
            kind=KINDS[number % len(KINDS)],
            title=f"row {number}",
            text=f"{words_of(number)} {number}",
            created_at=_AT,
            project_id="shop",
            run_id=f"run-{number}",
        )
        yield Embedded(memory, tuple(vector))


def _raw_lance(folder: Path, rows: Rows) -> tuple[Answers, Answers]:
    """As its documentation shows it: exact search of what the filter leaves, and by an index."""
    lancedb: Any = import_module("lancedb")
    index: Any = import_module("lancedb.index")
    pa: Any = import_module("pyarrow")
    flat = pa.array(rows.vectors.reshape(-1))
    count = rows.tenants * rows.each
    table = lancedb.connect(str(folder)).create_table(
        "rows",
        pa.table(
            {
                "id": pa.array([number % rows.each for number in range(count)]),
                "tenant": pa.array([number // rows.each for number in range(count)]),
                "text": pa.array([words_of(number % rows.each) for number in range(count)]),
                "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS),
            }
        ),
    )
    table.create_index("tenant", config=index.Bitmap())

    def search(tenant: int, vector: Any, text: str) -> set[int]:
        del text
        found = table.search(vector).distance_type("cosine").where(f"tenant = {tenant}", True)
        return set(found.select(["id", "_distance"]).limit(BEST).to_arrow()["id"].to_pylist())

    exact = _told(ask("raw LanceDB, one table, filter by tenant", rows, search))
    begun = time.perf_counter()
    table.create_index("vector", config=index.HnswSq(distance_type="cosine", num_partitions=1))
    print(f"raw LanceDB: index of vectors made in {time.perf_counter() - begun:.0f} s", flush=True)
    return exact, _told(ask("raw LanceDB, with an index of vectors", rows, search))


def _chroma() -> Answers | None:
    """In the peers' environment: it pins other versions of what we use."""
    if not PEERS_PYTHON.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                PEERS_PYTHON,
                "-m",
                "benchmarks.peers.chroma",
                folder,
                json.dumps(asdict(MANY_TENANTS)),
            ],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return Answers(**json.loads(done.stdout.splitlines()[-1]))


def _in_parts(rows: list[Embedded], size: int) -> Iterator[list[Embedded]]:
    return (rows[begin : begin + size] for begin in range(0, len(rows), size))


if __name__ == "__main__":
    for ratio in main():
        print(ratio)
