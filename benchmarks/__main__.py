"""``python -m benchmarks [NAME …]``: run them one after the other, and sum them up.

Each runs in a process of its own. Missing a target is said, but is no failure: times on a machine
that others use vary. Only a benchmark that breaks makes the exit code 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.ratio import Ratio

NAMES = (
    "engine",
    "fan_out",
    "five_jobs",
    "warm_run",
    "warm_worker",
    "pool_runs",
    "blob",
    "forge",
    "cached_render",
    "render",
    "compile",
    "embed",
    "recall",
    "memory_search",
    "memory_runs",
    "sweep",
    "dispatch",
    "letters",
    "api_requests",
    "api_reads",
    "api_webhooks",
)


def main() -> int:
    """Run what was named, or all; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if given.answer is not None:
        _run_here(given.names[0], given.answer)
        return 0
    ratios: list[Ratio] = []
    broken: list[str] = []
    for name in given.names or NAMES:
        print(f"--- {name}", flush=True)
        found = _run_in_child(name)
        if found is None:
            broken.append(name)
        else:
            ratios += found
        print(flush=True)
    _sum_up(ratios, broken)
    return 1 if broken else 0


def _run_here(name: str, answer: Path) -> None:
    ratios: tuple[Ratio, ...] = importlib.import_module(f"benchmarks.{name}").main()
    answer.write_text(json.dumps([asdict(ratio) for ratio in ratios]))


def _run_in_child(name: str) -> list[Ratio] | None:
    """Its ratios, or None where it broke."""
    with tempfile.TemporaryDirectory(prefix="factory-bench-") as folder:
        answer = Path(folder) / "ratios.json"
        command = [sys.executable, "-m", "benchmarks", name, "--answer", str(answer)]
        if subprocess.run(command).returncode != 0:
            return None
        return [Ratio(**ratio) for ratio in json.loads(answer.read_text())]


def _sum_up(ratios: list[Ratio], broken: list[str]) -> None:
    print("=== summary")
    for ratio in ratios:
        print(ratio)
    if missed := [ratio.name for ratio in ratios if not ratio.ok]:
        print(f"MISSED {len(missed)} of {len(ratios)}: {'; '.join(missed)}")
    for name in broken:
        print(f"BROKEN: {name}")


if __name__ == "__main__":
    sys.exit(main())
