"""The warm worker beside Prefect's process worker: how soon a flow run begins, and how many a minute.

Both are started as people do, ``prefect worker start``, with two flow runs at once and Prefect's
defaults for all else, one after the other against one server; they execute the same flow of five
tasks that do nothing. Time to the first task counts from the moment when the server made the flow
run, on an idle worker. Throughput is that of flow runs made at once, until the last has ended.

All of it on PostgreSQL, and then on the embedded server's SQLite with fewer runs, which has no
target: there the server is what takes long, and what should be seen is that it does not collapse.
``BENCH_RUNS`` says of how many runs on PostgreSQL, 100 say.

What each warm process holds is printed at the start and after all of these. ``BENCH_LEAK_RUNS``
more, 500 say, show whether it grows: the worker replaces none of them on the way.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from tests.services import running_postgres

TIMES = 5
RUNS = int(os.environ.get("BENCH_RUNS", "24"))
RUNS_ON_SQLITE = 10
LEAK_RUNS = int(os.environ.get("BENCH_LEAK_RUNS", "0"))
LIMIT = 2
PATIENCE = 600.0
_AT_ONCE = 200
"""What the server gives in one answer."""

ROOT = Path(__file__).parent.parent
AT_LEAST = 7.0
SOON = 0.6
"""Seconds from the flow run's making to its first task."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one worker.

    Attributes:
        first_task: seconds from a flow run's making to its first task, each time.
        runs_per_minute: of those that were made at once.
        memory_mib: of each process that stays, after so many flow runs in all, its own pages and
            those it shares: USS, RSS.
    """

    first_task: list[float]
    runs_per_minute: float
    memory_mib: list[tuple[int, int, int]]


def main() -> tuple[Ratio, ...]:
    """Print both, and their ratios, on each database."""
    with running_postgres(contrib=True) as postgres, local_server(postgres):
        ratios = _figures("PostgreSQL", RUNS, LEAK_RUNS, AT_LEAST)
    with local_server():
        return ratios + _figures("SQLite", RUNS_ON_SQLITE, 0, None)


def _figures(database: str, runs: int, leak_runs: int, at_least: float | None) -> tuple[Ratio, ...]:
    api = os.environ["PREFECT_API_URL"]
    found = {kind: _measure(api, kind, runs, leak_runs) for kind in ("process", "factory")}
    print(f"five no-op tasks, {LIMIT} at once, server on {database};", end=" ")
    print(f"{TIMES} single runs, then {runs} at once")
    for kind, one in found.items():
        soon, late = statistics.median(one.first_task), max(one.first_task)
        print(f"  {kind:<8} made -> first task: p50 {soon:5.2f} s, most {late:5.2f} s;", end=" ")
        print(f"{one.runs_per_minute:7.1f} runs a minute")
        for after, own, all_of_it in one.memory_mib:
            print(f"           a warm process after {after:3} flow runs of all:", end=" ")
            print(f"{own} MiB of its own, {all_of_it} MiB resident")
    process, warm = found["process"], found["factory"]
    soon = statistics.median(warm.first_task)
    ratios = (
        Ratio(f"made -> first task: warm, s, {database}", soon, SOON),
        Ratio(
            f"made -> first task: process / warm, {database}",
            statistics.median(process.first_task) / soon,
        ),
        Ratio(
            f"runs a minute: warm / process, {database}",
            warm.runs_per_minute / process.runs_per_minute,
            at_least,
            at_least=True,
        ),
    )
    for ratio in ratios:
        print(ratio)
    return ratios


def _measure(api: str, kind: str, runs: int, leak_runs: int) -> Measured:
    pool = f"bench-{kind}"
    memory: list[tuple[int, int, int]] = []
    with _worker(kind, pool) as worker:
        deployment = _deploy(api, pool)
        _run(api, deployment, 1)  # the first of each warm process is slower
        _run(api, deployment, LIMIT)
        memory += _memory(worker.pid, 1 + LIMIT)
        first_task = [_first_task(api, *_run(api, deployment, 1)) for _ in range(TIMES)]
        done = _run(api, deployment, runs)
        begun = min(_time(one["created"]) for one in done)
        took = max(_time(one["end_time"]) for one in done) - begun
        so_far = 1 + LIMIT + TIMES + runs
        memory += _memory(worker.pid, so_far)
        if leak_runs and kind == "factory":
            _run(api, deployment, leak_runs)
            memory += _memory(worker.pid, so_far + leak_runs)
    return Measured(first_task, 60 * runs / took, memory)


@contextmanager
def _worker(kind: str, pool: str) -> Generator[subprocess.Popen[bytes]]:
    words = ["worker", "start", "--type", kind, "--pool", pool, "--limit", str(LIMIT)]
    # The process worker's children find the flow by it: they work in a folder of their own.
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield worker
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait()


def _deploy(api: str, pool: str) -> str:
    until = time.monotonic() + PATIENCE
    while httpx.get(f"{api}/work_pools/{pool}").status_code != 200:
        assert time.monotonic() < until, "the worker does not start"
        time.sleep(0.1)
    flow = _ask("POST", f"{api}/flows/", {"name": "five-no-ops"})
    wanted = {
        "name": pool,
        "flow_id": flow["id"],
        "entrypoint": "benchmarks.five_no_ops.five",
        "work_pool_name": pool,
        "job_variables": {"max_runs": 100_000} if pool.endswith("factory") else {},
    }
    return str(_ask("POST", f"{api}/deployments/", wanted)["id"])


def _run(api: str, deployment: str, count: int) -> list[dict[str, Any]]:
    """Flow runs made at once, once all have ended."""
    path = f"{api}/deployments/{deployment}/create_flow_run"
    made = [_ask("POST", path, {"state": {"type": "SCHEDULED"}})["id"] for _ in range(count)]
    until = time.monotonic() + PATIENCE
    while True:
        found = _filtered(api, "flow_runs", made, "START_TIME_ASC")
        if all(one["end_time"] for one in found):
            break
        assert time.monotonic() < until, "flow runs do not end"
        time.sleep(0.2)
    assert {one["state_type"] for one in found} == {"COMPLETED"}, found
    time.sleep(1)  # for the server, which still writes what was told at the end
    return found


def _first_task(api: str, flow_run: dict[str, Any]) -> float:
    """Seconds to the start of its first task, which the server learns of a little later."""
    until = time.monotonic() + PATIENCE
    while not (found := _filtered(api, "task_runs", [flow_run["id"]], "ID_DESC")):
        assert time.monotonic() < until, "no task is told of"
        time.sleep(0.1)
    started = min(_time(one["start_time"]) for one in found if one["start_time"])
    return started - _time(flow_run["created"])


def _filtered(api: str, what: str, flow_runs: Sequence[str], sort: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for start in range(0, len(flow_runs), _AT_ONCE):
        some = {"id": {"any_": list(flow_runs[start : start + _AT_ONCE])}}
        wanted = {"flow_runs": some, "sort": sort, "limit": _AT_ONCE}
        found += _ask("POST", f"{api}/{what}/filter", wanted)
    return found


def _ask(method: str, url: str, body: Any) -> Any:
    while (answer := httpx.request(method, url, json=body, timeout=60)).status_code == 503:
        time.sleep(0.1)  # its SQLite is busy
    answer.raise_for_status()
    return answer.json()


def _memory(worker: int, runs: int) -> list[tuple[int, int, int]]:
    """Of each warm process below the worker; of Prefect's own worker there is none."""
    found = [one.memory_full_info() for one in _warm(worker)]
    return [(runs, one.uss >> 20, one.rss >> 20) for one in found]


def _warm(worker: int) -> list[psutil.Process]:
    below = psutil.Process(worker).children(recursive=True)
    servers = [one.pid for one in below if "multiprocessing.forkserver" in " ".join(one.cmdline())]
    return [one for one in below if one.ppid() in servers]


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()
