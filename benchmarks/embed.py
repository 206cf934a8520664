"""What embedding costs with each model on this machine: to begin with, and by the document."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.ratio import Ratio
from factory_runtime.memory.embedders.opened import open_embedder
from factory_runtime.ports import Embedder
from factory_runtime.settings import Settings

NAMES = ("minilm", "light")
QUERY = "multi-tenant user management with role-based access"
_SENTENCE = (
    "a service that takes orders from the shop reserves stock and asks billing for an invoice "
    "with a database queue retries pipelines and docs where the deployment failed for want of "
    "room until the template was changed"
)
WORDS = _SENTENCE.split()
DOCUMENTS = 32
ROUNDS = 5
QUERIES = 15
COLD_SECONDS = 1.5
COLD_MB = 300

_COLD = """
import json, resource, sys, time
begun = time.perf_counter()
from factory_runtime.memory.embedders.opened import open_embedder
from factory_runtime.settings import Settings
open_embedder(sys.argv[1], Settings()).embed([sys.argv[2]])
seconds = time.perf_counter() - begun
taken = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([seconds, taken.ru_utime + taken.ru_stime, taken.ru_maxrss / 1024]))
"""


def cold_start(name: str) -> tuple[float, float]:
    """What the first vector takes in a process of its own: seconds, and megabytes.

    The best of a few: whatever else the machine does only adds. This process must be small still:
    what its children take is never told as less.
    """
    command = [sys.executable, "-c", _COLD, name, QUERY]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for _ in range(ROUNDS)
    ]
    wall, seconds, megabytes = (min(part) for part in zip(*runs, strict=True))
    print(
        f"{name}: first vector after {wall:.2f} s ({seconds:.2f} s of processor),"
        f" with {megabytes:.0f} MB"
    )
    return wall, megabytes


def _documents(words: int) -> list[str]:
    """Each of so many words, and none like another."""
    texts = [
        [WORDS[(n * 7 + w * (n + 3)) % len(WORDS)] for w in range(words)] for n in range(DOCUMENTS)
    ]
    return [f"{number} {' '.join(text)}" for number, text in enumerate(texts)]


def _seconds(action: Callable[[], object]) -> float:
    """Of one processor, which is all that embedding takes: others' work does not count."""
    begun = time.process_time()
    action()
    return time.process_time() - begun


def per_second(embedders: dict[str, Embedder], texts: Sequence[str]) -> dict[str, float]:
    """Documents by embedder, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in embedders}
    for _ in range(ROUNDS):
        for name, embedder in embedders.items():
            found[name].append(len(texts) / _seconds(lambda e=embedder: e.embed(texts)))
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> tuple[Ratio, ...]:
    """Print the figures."""
    seconds, megabytes = cold_start("minilm")
    cold_start("light")
    embedders = {name: open_embedder(name, Settings()) for name in NAMES}
    for name, embedder in embedders.items():
        embedder.embed([QUERY])
        query = statistics.median(
            _seconds(lambda e=embedder: e.embed([QUERY])) for _ in range(QUERIES)
        )
        print(f"{name}: a query in {query * 1e3:.2f} ms")
    ratios: list[Ratio] = []
    for words in (60, 125):
        rates = per_second(embedders, _documents(words))
        told = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        print(f"documents of {words} words a second: {told}")
        ratio = rates["light"] / rates["minilm"]
        ratios.append(Ratio(f"documents a second of {words} words: light / minilm", ratio))
    return (
        Ratio("cold start of minilm / 1.5 s", seconds / COLD_SECONDS, 1.0),
        Ratio("memory of minilm / 300 MB", megabytes / COLD_MB, 1.0),
        *ratios,
    )


if __name__ == "__main__":
    main()
