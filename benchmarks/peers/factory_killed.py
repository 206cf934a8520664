"""Factory Runtime, killed: its own executing process, and the Prefect server that this keeps."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.killed import TEMPLATE, inputs_of, write_template
from benchmarks.peers.fan_out import FanOut
from benchmarks.peers.kills import (
    PATIENCE,
    Kill,
    PeerBrokenError,
    end_tree,
    kill_of,
    wait_until_half_way,
)
from deployments.stack import start_stack
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.services.bodies import from_body
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings


def kill_factory(
    tool: str, folder: Path, fan_out: FanOut, *, database: str | None, prefect: str | None
) -> Kill:
    """Kill it half-way, start it again as `factory up` does, and read what ran.

    Args:
        tool: its name in the table.
        folder: empty, for its home.
        fan_out: what to execute.
        database: URL of the run store; None is its own SQLite file.
        prefect: the API of a Prefect server that lives on; None has it keep one of its own, which
            is killed with it.
    """
    write_template(folder / "templates")
    settings = Settings(
        home=folder / "home",
        template_folders=(folder / "templates",),
        job_types=("benchmarks.killed",),
        database_url=database,
        prefect_api_url=prefect,
    )
    runtime = open_runtime(settings)
    run = request_run(
        runtime.desk, RunRequest("local", "bench", TEMPLATE, inputs_of(fan_out), "bench")
    )

    def log() -> str:
        return _tail(settings)

    with _executor(settings) as child:
        wait_until_half_way(tool, fan_out, lambda: child.poll() is None, log)
    killed_at = time.monotonic()
    recorded = _recorded(runtime, run)
    with _executor(settings) as child:
        _wait_until_ended(tool, runtime, run, child)
    runtime.store.close()
    return kill_of(tool, fan_out, killed_at, recorded)


@contextmanager
def _executor(settings: Settings) -> Generator[subprocess.Popen[bytes]]:
    """The process that `factory up` leaves; SIGKILL for it and its server where the block ends."""
    child = start_stack(settings, keep=True)
    try:
        yield child
    finally:
        end_tree(child.pid)
        child.wait()


def _recorded(runtime: Runtime, run: Run) -> frozenset[str]:
    """Names of the jobs that our record says have ended."""
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        jobs = [job for job in tx.list_jobs(run.id) if job.status is JobStatus.SUCCEEDED]
    return frozenset(from_body(runtime.storage, run.tenant_id, job.outputs)["name"] for job in jobs)


def _wait_until_ended(
    tool: str, runtime: Runtime, run: Run, child: subprocess.Popen[bytes]
) -> None:
    give_up = time.monotonic() + PATIENCE
    while True:
        with runtime.store.begin(run.tenant_id, read_only=True) as tx:
            current = tx.get_run(run.id)
        if current.status is RunStatus.SUCCEEDED:
            return
        if current.ended or child.poll() is not None or time.monotonic() > give_up:
            log = _tail(runtime.settings)
            raise PeerBrokenError(f"{tool} left its run {current.status}:\n{log}")
        time.sleep(0.1)


def _tail(settings: Settings) -> str:
    text = (settings.stack_folder / "executor.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-30:])
