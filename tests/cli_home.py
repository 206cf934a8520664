"""A FACTORY_HOME with a run in it, and a way to call the command in this process."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.main import main
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.attempt import Attempt, Outcome
from factory_runtime.domain.job import Job, JobStatus, SkipReason
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.services.locks import walk_lock
from factory_runtime.services.request_run import request_run
from factory_runtime.telemetry import worker_name
from tests.warm_cli import nursery

BODY = b"# Runbook\n\x00\xff"
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


class Factory:
    """Calls `factory` as the shell would, but in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], runtime: Runtime) -> None:
        self._capsys = capsys
        self.runtime = runtime

    def __call__(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        code = main(arguments)
        captured = self._capsys.readouterr()
        return Said(code, captured.out, captured.err)


def accept_run(runtime: Runtime, name: str = "orders", project: str = "default") -> Run:
    """A run as it stands when it was accepted."""
    inputs = {"service_name": name}
    return request_run(runtime.desk, RunRequest("local", project, "microservice", inputs, "ada"))


def fail_run(runtime: Runtime) -> Run:
    """A run whose first job failed in its first attempt, and skipped the others."""
    run = accept_run(runtime)
    error = "the host \x1b[31msays no\nsecond line"
    with runtime.store.begin("local") as tx:
        queued = run.move_to(RunStatus.QUEUED, T0)
        running = queued.move_to(RunStatus.RUNNING, T0, flow_run_id="flow-1")
        tx.save_run(run, queued)
        tx.save_run(queued, running)
        first, *others = tx.list_jobs(run.id)
        claimed = first.move_to(JobStatus.RUNNING, T0, attempt=1)
        tx.save_job(first, claimed, detail={"attempt": 1})
        tx.add_attempt(_attempt(run, first.step, error))
        tx.add_event(
            RunEvent("local", run.id, T0, "log", first.step, detail={"message": "asked the host"})
        )
        failed = claimed.move_to(JobStatus.FAILED, T0 + timedelta(seconds=1.5), error=error)
        detail = {"attempt": 1, "seconds": 1.5, "reason": error}
        tx.save_job(claimed, failed, detail=detail)
        for job in others:
            skipped = job.move_to(JobStatus.SKIPPED, T0, skip_reason=SkipReason.NEED_FAILED)
            tx.save_job(job, skipped, detail={"reason": "need-failed"})
        tx.add_artifacts([_artifact(runtime, run, first.step)])
        ended = running.move_to(
            RunStatus.FAILED, T0 + timedelta(seconds=2), error=f"failed: {first.step}"
        )
        tx.save_run(running, ended)
    return ended


def _attempt(run: Run, step: str, error: str) -> Attempt:
    return Attempt(
        key=f"{run.id}:{step}:1",
        tenant_id="local",
        run_id=run.id,
        step=step,
        number=1,
        fencing_token=0,
        started_at=T0,
        worker="here:1",
        environment="embedded",
        completed_at=T0 + timedelta(seconds=1.5),
        outcome=Outcome.PERMANENT,
        error=error,
        peak_memory_bytes=3 * 1024 * 1024,
    )


def _artifact(runtime: Runtime, run: Run, step: str) -> Artifact:
    stored = runtime.storage.put("local", BODY)
    return Artifact(
        id="art-1",
        tenant_id="local",
        run_id=run.id,
        step=step,
        kind=ArtifactKind.DOCUMENT,
        name="docs/runbook.md",
        uri=stored.uri,
        media_type="text/markdown",
        creator=f"{run.id}:{step}:1",
        created_at=T0,
        project_id=run.project_id,
        size=stored.size,
        sha256=stored.digest,
    )


def begin_run(runtime: Runtime, run: Run, worker: str | None = None) -> Job:
    """Have an accepted run executed, as a walk of this process (or another) leaves it.

    Its first job, which is given, is under way; the others are Pending.
    """
    now = runtime.clock.now()
    holder = f"{worker or worker_name()}-walk"
    lease = now + timedelta(seconds=60)
    with runtime.store.begin(run.tenant_id) as tx:
        stands = tx.lock_run(run.id)
        queued = stands.move_to(RunStatus.QUEUED, now, admitted_at=now)
        tx.save_run(stands, queued)
        tx.save_run(queued, queued.move_to(RunStatus.RUNNING, now))
        tx.try_lock(walk_lock(run.id), holder, now, lease)
        first = tx.list_jobs(run.id)[0]
        claimed = first.move_to(
            JobStatus.RUNNING,
            now,
            attempt=1,
            fencing_token=1,
            lease_owner=holder,
            lease_expires_at=lease,
        )
        tx.save_job(first, claimed, detail={"attempt": 1})
        tx.add_attempt(replace(_attempt(run, first.step, ""), outcome=None, error=None))
    return claimed


def put_aside(runtime: Runtime, run: Run) -> None:
    """Have an executed run reach Paused, as its walk would."""
    move_run(runtime, run, RunStatus.PAUSED, pause_requested_at=None)


def move_run(runtime: Runtime, run: Run, status: RunStatus, **changes: Any) -> None:
    """Move a run as it stands."""
    with runtime.store.begin(run.tenant_id) as tx:
        stands = tx.lock_run(run.id)
        tx.save_run(stands, stands.move_to(status, runtime.clock.now(), **changes))


def get_run(runtime: Runtime, run: Run) -> Run:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.get_run(run.id)


def get_jobs(runtime: Runtime, run: Run) -> dict[str, Job]:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return {job.step: job for job in tx.list_jobs(run.id)}


def typing(runtime: Runtime, *words: str) -> subprocess.Popen[str]:
    """`factory …` as a process of its own, against this home."""
    settings = runtime.settings
    return subprocess.Popen(
        [nursery().factory, *words],
        env={
            **os.environ,
            "FACTORY_HOME": str(settings.root),
            "FACTORY_DATABASE_URL": settings.run_store_url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def typed(process: subprocess.Popen[str]) -> Said:
    """What it answered, once it has ended."""
    out, err = process.communicate(timeout=60)
    return Said(process.returncode, out, err)


def until(true: Callable[[], object], what: str) -> None:
    """Wait until it is so."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)
