"""``python -m benchmarks.peers.child``: one tool, in its own process and environment.

What to execute is in the environment (``FanOut``); the answer is a JSON file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.fan_out import FanOut, Tool


def main() -> None:
    """Run or recover the fan-out as told on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module", help="a module of this package")
    parser.add_argument("opener", help="its function that opens the tool")
    parser.add_argument("action", choices=("measure", "run", "recover"))
    parser.add_argument("folder", type=Path, help="what the tool stores")
    parser.add_argument("--url", help="of a database to use instead of the tool's own file")
    parser.add_argument("--rounds", type=int, default=0, help="how often to measure")
    parser.add_argument("--answer", type=Path, required=True)
    given = parser.parse_args()
    module = importlib.import_module(f"benchmarks.peers.{given.module}")
    opened: AbstractContextManager[Tool] = getattr(module, given.opener)(given.folder, given.url)
    with opened as tool:
        if given.action == "recover":
            _check(tool.recover())
            seconds: list[float] = []
        elif given.action == "run":
            _check(tool.run())
            seconds = []
        else:
            seconds = _measured(tool, given.rounds)
    answer = {"version": version(module.PACKAGE), "seconds": seconds}
    given.answer.write_text(json.dumps(answer))


def _measured(tool: Tool, rounds: int) -> list[float]:
    """Seconds of each round, after one warm-up."""
    _check(tool.run())
    seconds: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        done = tool.run()
        seconds.append(time.perf_counter() - started)
        _check(done)
    return seconds


def _check(done: int) -> None:
    expected = FanOut.from_environment().jobs
    assert done == expected, f"the last job saw {done} results instead of {expected}"


if __name__ == "__main__":
    main()
