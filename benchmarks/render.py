"""A first render in the box, beside ``copier copy`` of the same source on the command line.

Both in turns, each in a child process. Ours also unpacks the source from artifact storage, looks
through what came out, packs it and stores it durably.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.ratio import Ratio
from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.domain.tree import pack_folder
from factory_runtime.jobs.render.box import render
from factory_runtime.jobs.render.limits import RenderLimits

SOURCE = Path(__file__).parents[1] / "factory_runtime/templates/microservice/files/base"
ROUNDS = 9
TARGET = 1.3


def main() -> tuple[Ratio, ...]:
    """Print milliseconds per render of both, and their ratio."""
    with tempfile.TemporaryDirectory(prefix="factory-benchmark-") as folder:
        ours, plain = _our_render(Path(folder)), _copier_copy(Path(folder))
        times: dict[Callable[[], None], list[float]] = {ours: [], plain: []}
        for once in (ours, plain):
            once()  # files and bytecode into the caches
        for _ in range(ROUNDS):
            for once, taken in times.items():
                started = time.perf_counter()
                once()
                taken.append(time.perf_counter() - started)
    measured = statistics.median(times[ours]) / statistics.median(times[plain])
    ratio = Ratio("first render in the box / copier copy", measured, TARGET)
    files = sum(path.is_file() for path in SOURCE.rglob("*"))
    print(f"a first render of {files} files, {ROUNDS} rounds in turns, median ms")
    print(f"  copier copy     {statistics.median(times[plain]) * 1000:8.0f}")
    print(f"  render box      {statistics.median(times[ours]) * 1000:8.0f}")
    print(ratio)
    return (ratio,)


def _our_render(folder: Path) -> Callable[[], None]:
    storage = LocalArtifactStorage(folder / "artifacts")
    packed = folder / "source.tar"
    with packed.open("w+b") as body:
        digest = pack_folder(SOURCE, body).digest
        body.seek(0)
        storage.put("local", body)
    order = RenderOrder((Layer("files/base", {"service_name": "orders"}),))

    def once() -> None:
        render(order, {"files/base": digest}, storage, "local", RenderLimits())

    return once


def _copier_copy(folder: Path) -> Callable[[], None]:
    out = folder / "out"
    command = [sys.executable, "-m", "copier", "copy", "--defaults", "--quiet"]
    command += ["--data", "service_name=orders", str(SOURCE), str(out)]

    def once() -> None:
        shutil.rmtree(out, ignore_errors=True)
        subprocess.run(command, check=True)

    return once


if __name__ == "__main__":
    main()
