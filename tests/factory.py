"""A whole factory for tests: a home of its own, its stack, and what a test asks of it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from deployments.stack import StackState, read_state, start_stack, wait_for_stack
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.job import Job
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings
from tests.prefect_database import place_database
from tests.warm_cli import nursery

LIMIT_SECONDS = 240.0
FACTORY = Path(sys.executable).with_name("factory")

_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Our server's address needs none, but each request would read the system's certificates."""


class Factory:
    """One home and the processes that serve it. Ends what it started, by id."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.templates = home / "templates"
        self.templates.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            home=home / "home",
            template_folders=(self.templates,),
            render_cpu_seconds=5,  # what never ends, ends a test's patience sooner
            **settings,
        )
        self.runtime: Runtime = open_runtime(self.settings)
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> StackState:
        place_database(self.settings.prefect_folder)
        self.child = start_stack(self.settings, keep=False)
        return wait_for_stack(self.settings, self.child, lambda _phase: None)

    def stop(self) -> None:
        if self.child is None:
            return
        if self.child.stdin is not None:
            self.child.stdin.close()
        try:
            self.child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.child.send_signal(signal.SIGUSR1)  # its log tells what it waits for
            time.sleep(1)
            for process in self.processes():
                process.kill()
            self.child.wait()
            raise
        finally:
            self.runtime.store.close()
            self.child = None

    def processes(self) -> list[psutil.Process]:
        """The executor and everything below it."""
        if self.child is None or not psutil.pid_exists(self.child.pid):
            return []
        top = psutil.Process(self.child.pid)
        return [top, *top.children(recursive=True)]

    def request(self, template: str, project: str, tenant: str = "local", **inputs: Any) -> Run:
        return request_run(
            self.runtime.desk, RunRequest(tenant, project, template, inputs, "tester")
        )

    def wait(self, run: Run, *statuses: RunStatus) -> Run:
        """The run, once it has ended or reached one of these statuses."""
        until = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < until:
            current = self.run(run)
            if current.ended or current.status in statuses:
                return current
            time.sleep(0.1)
        raise AssertionError(f"{run.id} is still {self.run(run).status}: {self.jobs(run)}")

    def complete(self, template: str, project: str, tenant: str = "local", **inputs: Any) -> Run:
        """Request a run and wait for its end."""
        return self.wait(self.request(template, project, tenant, **inputs))

    def run(self, run: Run) -> Run:
        with self.runtime.store.begin(run.tenant_id, read_only=True) as tx:
            return tx.get_run(run.id)

    def jobs(self, run: Run) -> dict[str, Job]:
        with self.runtime.store.begin(run.tenant_id, read_only=True) as tx:
            return {job.step: job for job in tx.list_jobs(run.id)}

    def artifacts(self, run: Run) -> list[Artifact]:
        with self.runtime.store.begin(run.tenant_id, read_only=True) as tx:
            return list(tx.list_artifacts(run_id=run.id))

    def cli(
        self, *words: str, home: Path | None = None, warm: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Type `factory …` against this home, or another.

        ``warm`` spares it its imports; else it is started as a person's shell does.
        """
        return subprocess.run(
            [nursery().factory if warm else FACTORY, *words],
            env=self.environment(home),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )

    def environment(self, home: Path | None = None) -> dict[str, str]:
        """What a person's shell would hold."""
        given = self.settings.model_dump(mode="json", exclude_unset=True)
        ours = {
            f"FACTORY_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in given.items()
        }
        place = {"FACTORY_HOME": str(home or self.settings.root)}
        return os.environ | ours | place | {"COLUMNS": "200"}

    def prefect(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the stack's Prefect server."""
        state = read_state(self.settings)
        assert state is not None
        address = state.api_url + path
        answer = httpx.request(method, address, json=body, timeout=30, verify=_PLAIN)
        answer.raise_for_status()
        return answer.json()

    def template(self, name: str, text: str, files: dict[str, str | bytes] | None = None) -> Path:
        """Write a template folder."""
        folder = self.templates / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "template.yaml").write_text(text)
        for path, content in (files or {}).items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder


def kill_executor(factory: Factory) -> list[psutil.Process]:
    """SIGKILL for the executor; what it started has to go by itself."""
    assert factory.child is not None
    below = psutil.Process(factory.child.pid).children(recursive=True)
    factory.child.send_signal(signal.SIGKILL)
    factory.child.wait()
    if factory.child.stdin is not None:
        factory.child.stdin.close()
    factory.child = None
    return below


def until(true: Any, what: str, seconds: float = LIMIT_SECONDS, *, every: float = 0.05) -> None:
    """Wait until a condition holds, looking at it every so many seconds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        time.sleep(every)


def git(*words: str | Path, cwd: Path | None = None) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", *map(str, words)], cwd=cwd, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout
