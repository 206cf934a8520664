"""Whole runs through a work pool: our warm worker beside Prefect's process worker.

As in production: a Prefect server and our record on PostgreSQL, a dispatcher that hands runs over,
one worker of two flow runs at once, each a process of its own and started as people do. First the
idle stack, one ``microservice`` after the other: from Accepted to its first job, and to Succeeded.
Then many at once, of a template of five jobs that do nothing and of ``microservice``. Every service
has a name of its own, so that nothing of it was rendered before.

``BENCH_RUNS`` says how many at once, 100 say; with the process worker those take minutes.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import httpx

from benchmarks.local_server import local_server
from benchmarks.ratio import Ratio
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings
from tests.services import PostgresServer, running_postgres
from tests.work_types import a_work_template

TIMES = 5
RUNS = int(os.environ.get("BENCH_RUNS", "10"))
LIMIT = 2
PATIENCE = 1800.0

ROOT = Path(__file__).parent.parent
_NUMBERS = count()
FIRST_JOB, WHOLE = 0.6, 3.0
"""Seconds from Accepted on an idle stack, at most."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one kind of worker.

    Attributes:
        first_job: seconds from Accepted to the first job, each time.
        whole: seconds from Accepted to Succeeded, of ``microservice``.
        per_minute: runs, by template, of those that were asked for at once.
    """

    first_job: list[float]
    whole: list[float]
    per_minute: dict[str, float]


def main() -> tuple[Ratio, ...]:
    """Print both, and their ratios."""
    with running_postgres(contrib=True) as postgres:
        found = {kind: _measure(postgres, kind) for kind in ("process", "factory")}
    print(f"through a work pool, {LIMIT} at once; {TIMES} single runs, then {RUNS} at once")
    for kind, one in found.items():
        first, whole = statistics.median(one.first_job), statistics.median(one.whole)
        print(f"  {kind:<8} accepted -> first job p50 {first:5.2f} s, -> succeeded {whole:5.2f} s;")
        for template, rate in one.per_minute.items():
            print(f"           {rate:7.1f} runs of {template} a minute")
    process, warm = found["process"], found["factory"]
    ratios = [
        Ratio("accepted -> first job: warm, s", statistics.median(warm.first_job), FIRST_JOB),
        Ratio("accepted -> succeeded: warm, s", statistics.median(warm.whole), WHOLE),
    ]
    ratios += [
        Ratio(f"{template} a minute: warm / process", rate / process.per_minute[template])
        for template, rate in warm.per_minute.items()
    ]
    for ratio in ratios:
        print(ratio)
    return tuple(ratios)


def _measure(postgres: PostgresServer, kind: str) -> Measured:
    with ExitStack() as stack:
        stack.enter_context(local_server(postgres))
        api_url = os.environ["PREFECT_API_URL"]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="factory-bench-")))
        settings = Settings(
            home=folder / "home",
            database_url=stack.enter_context(postgres.database()),
            prefect_api_url=api_url,
            template_folders=(folder / "templates",),
            job_types=("tests.work_types",),
            work_pool=f"bench-{kind}",
            max_running_runs=LIMIT,
        )
        _write_no_ops(settings.template_folders[0])
        runtime = open_runtime(settings)
        stack.callback(runtime.store.close)
        variables = _variables(settings)
        pool = str(settings.work_pool)
        words = ["worker", "start", "--type", kind, "--pool", pool, "--limit", str(LIMIT)]
        stack.enter_context(_started(["prefect", *words], variables))
        _until_there(f"{api_url}/work_pools/{pool}")
        stack.enter_context(_started(["deployments.executor"], variables))
        return _figures(runtime)


def _figures(runtime: Runtime) -> Measured:
    _at_once(runtime, "microservice", LIMIT)  # the first of each process is slower
    singles = [_at_once(runtime, "microservice", 1)[0] for _ in range(TIMES)]
    per_minute: dict[str, float] = {}
    for template in ("no-ops", "microservice"):
        done = _at_once(runtime, template, RUNS)
        took = max(_ended(run) for run in done) - min(run.requested_at for run in done)
        per_minute[template] = 60 * RUNS / took.total_seconds()
    return Measured(
        [_first_job(runtime, run) for run in singles],
        [(_ended(run) - _accepted(runtime, run)).total_seconds() for run in singles],
        per_minute,
    )


def _write_no_ops(folder: Path) -> None:
    place = folder / "no-ops"
    place.mkdir(parents=True)
    file = place.parent.parent / "touched"
    steps = [f"name: s{n}, type: touch, with: {{file: '{file}'}}" for n in range(5)]
    (place / "template.yaml").write_text(a_work_template("no-ops", *steps))


def _variables(settings: Settings) -> dict[str, str]:
    """What the processes are given; Prefect's variables are ours since its server was started."""
    return os.environ | {
        "FACTORY_HOME": str(settings.home),
        "FACTORY_DATABASE_URL": settings.run_store_url,
        "FACTORY_PREFECT_API_URL": str(settings.prefect_api_url),
        "FACTORY_TEMPLATE_FOLDERS": f'["{settings.template_folders[0]}"]',
        "FACTORY_JOB_TYPES": '["tests.work_types"]',
        "FACTORY_WORK_POOL": str(settings.work_pool),
        "FACTORY_MAX_RUNNING_RUNS": str(LIMIT),
        "FACTORY_HOOKS": "false",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }


@contextmanager
def _started(words: list[str], variables: dict[str, str]) -> Generator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _until_there(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while httpx.get(url).status_code != 200:
        assert time.monotonic() < until, "the worker does not start"
        time.sleep(0.1)


def _at_once(runtime: Runtime, template: str, runs: int) -> list[Run]:
    """Runs asked for at once, once all have succeeded."""
    asked: list[Run] = []
    for _ in range(runs):
        name = f"orders-{next(_NUMBERS)}"
        inputs = {"service_name": name, "entities": ["order"]} if template == "microservice" else {}
        asked.append(
            request_run(runtime.desk, RunRequest("bench", name, template, inputs, "bench"))
        )
    until = time.monotonic() + PATIENCE
    done = asked
    while not all(run.ended for run in done):
        assert time.monotonic() < until, "runs do not end"
        time.sleep(0.1)
        done = [_now(runtime, run) for run in asked]
    ends = {(run.status, run.error) for run in done}
    assert ends == {(RunStatus.SUCCEEDED, None)}, ends
    time.sleep(2)  # for what a run leaves to be done after it
    return done


def _now(runtime: Runtime, run: Run) -> Run:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.get_run(run.id)


def _accepted(runtime: Runtime, run: Run) -> datetime:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        (at,) = (e.at for e in tx.list_events(run.id) if e.to_status == RunStatus.VALIDATED)
    return at


def _first_job(runtime: Runtime, run: Run) -> float:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        started = [job.started_at for job in tx.list_jobs(run.id) if job.started_at is not None]
    return (min(started) - _accepted(runtime, run)).total_seconds()


def _ended(run: Run) -> datetime:
    assert run.completed_at is not None
    return run.completed_at


if __name__ == "__main__":
    main()
