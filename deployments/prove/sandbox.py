"""A home of its own in a temporary folder, with a Prefect server and a place to fork processes from.

Prefect is imported by the children alone: it takes seconds, and reads its settings while it does.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import connection, forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import psutil

from deployments.executor import PrefectServer, set_prefect
from deployments.prove.points import Moment
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.bootstrap.ground import make_home
from factory_runtime.domain.errors import PrefectUnavailableError, SettingsError
from factory_runtime.domain.policy import BLOCK, LOCAL_HOST
from factory_runtime.domain.run import Run
from factory_runtime.settings import Settings

_PRELOAD = [
    "__main__",
    "deployments.prove.walker",
    "anyio._backends._asyncio",
    "encodings.idna",
    "factory_runtime.compiler.plan",
    "factory_runtime.domain.redaction",
    "factory_runtime.hosts.local",
    "factory_runtime.jobs.documentation",
    "factory_runtime.jobs.infrastructure",
    "factory_runtime.jobs.pipeline_generation",
    "factory_runtime.jobs.repo_generation",
    "factory_runtime.jobs.report.document",
    "factory_runtime.jobs.report.download",
    "factory_runtime.jobs.report.fetch",
    "factory_runtime.jobs.template_layer",
    "factory_runtime.memory.in_memory",
    "factory_runtime.orchestration.launch",
    "factory_runtime.run_store",
    "factory_runtime.services.drain_outbox",
    "factory_runtime.services.forget_memory",
    "factory_runtime.services.index_memory",
    "factory_runtime.services.learn_run",
    "factory_runtime.services.migrate_memory",
    "factory_runtime.services.settle_effects",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "prefect.concurrency.services",
    "prefect.task_engine",
    "prefect.utilities.visualization",
    "pydantic.v1",
    "reportlab.pdfbase.ttfonts",
    "reportlab.platypus",
]
"""What a child would import else, each time. Not LanceDB: it does not survive a fork."""

_SOMEBODY_ELSES = (
    "FACTORY_DATABASE_URL",
    "FACTORY_SHARED_FOLDER",
    "FACTORY_ARTIFACT_STORAGE",
    "FACTORY_MEMORY_URL",
    "FACTORY_PREFECT_API_URL",
    "FACTORY_WORK_POOL",
    "FACTORY_JOB_ROUTES",
    "FACTORY_GIT_HOST",
)
_Pipe = tuple[connection.Connection, connection.Connection]

_LONGEST_FOLDER = 70
"""Bytes; the path of a socket has 107 on Linux, 103 on macOS, and what forks makes one below it."""

_GONE_SECONDS = 5.0
_LOOK_AGAIN = 0.02


@dataclass(frozen=True, slots=True)
class LentBlock:
    """A block that the sandbox's own Prefect server keeps as well; ``fields`` has its secrets."""

    name: str
    fields: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Errand:
    """What a process is to do.

    Attributes:
        trap: where it kills itself; None has it walk the run to its end.
        log: the file that it writes to, and all that it starts.
    """

    settings: Settings
    tenant_id: str
    run_id: str
    trap: Moment | None
    log: Path


@dataclass(frozen=True, slots=True)
class Walked:
    """What became of a process that was to walk a run.

    Attributes:
        exit_code: minus the number of the signal it died of; None where it took too long.
        reached: the moments it told of, in order.
        said: the last line of its log, for people.
    """

    exit_code: int | None
    reached: tuple[Moment, ...]
    said: str


class Sandbox:
    """Where a template is proved. All of it is gone when its block ends, however that is."""

    def __init__(
        self, settings: Settings, *, keep: bool = False, git_host: LentBlock | None = None
    ) -> None:
        """Make the folder.

        Args:
            settings: say where templates and job types are.
            keep: leaves the folder there.
            git_host: where repositories are made, and stay; None is a folder of the sandbox, wherever
                the settings would have them.

        Raises:
            SettingsError: no socket can be made in the folder for temporary files.
        """
        _refuse_long(tempfile.gettempdir())
        self.folder = Path(tempfile.mkdtemp(prefix="factory-prove-"))
        self._keep = keep
        self._git_host = git_host
        own: dict[str, Any] = {
            "home": self.folder,
            "database_url": None,
            "shared_folder": None,
            "artifact_storage": "local",
            "memory_url": None,
            "prefect_api_url": None,
            "work_pool": None,  # nobody else is there to do anything
            "job_routes": {},
            "policy_folder": None,  # it says who may run a template, not whether it can be resumed
            "git_host": LOCAL_HOST if git_host is None else f"{BLOCK}{git_host.name}",
            "max_running_runs": 1,
        }
        self.settings = Settings(**{**settings.model_dump(), **own})
        self._context = get_context("forkserver")
        self._server: PrefectServer | None = None
        self._ours: list[psutil.Process] = []
        self._walker: BaseProcess | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._walker is not None:
                self._walker.kill()
            if self._ours:
                self.end_left()
            if self._server is not None:
                self._server.stop()
            self.runtime.store.close()
        finally:
            _adopt_orphans(adopt=False)
            if not self._keep:
                shutil.rmtree(self.folder, ignore_errors=True)

    @cached_property
    def runtime(self) -> Runtime:
        """The sandbox's records and repositories, as this process sees them."""
        return open_runtime(self.settings)

    def start(self) -> None:
        """Have a Prefect server answer, and a process ready to fork others from.

        Raises:
            PrefectUnavailableError: the server does not come up.
        """
        make_home(self.settings)
        self.settings.stack_folder.mkdir(exist_ok=True)
        _adopt_orphans(adopt=True)
        self._server = PrefectServer(self.settings)
        with _environment():
            set_prefect(self.settings, self._server.api_url)
            self._server.start()
            self._context.set_forkserver_preload(_PRELOAD)
            forkserver.ensure_running()
        asyncio.run(self._server.wait_until_ready())
        if self._git_host is not None:
            from deployments.prove.lent_block import keep_block  # it imports Prefect

            keep_block(self._git_host, self._server.api_url)
        self._ours = psutil.Process().children(recursive=True)

    def walk(self, run: Run, trap: Moment | None, limit: float) -> Walked:
        """Have a process of its own walk a run to its end, or to where it is to kill itself.

        Args:
            run: an accepted one.
            trap: where it dies.
            limit: seconds that it may take; it is killed then.

        Raises:
            PrefectUnavailableError: the sandbox itself has broken down.
        """
        self._refuse_dead()
        log = self.settings.stack_folder / f"{run.id}.log"
        errand = Errand(self.settings, run.tenant_id, run.id, trap, log)
        hears, tells = cast(_Pipe, connection.Pipe(duplex=False))
        walker = self._context.Process(target=_walk, args=(errand, tells))
        self._walker = walker
        walker.start()
        tells.close()
        reached: list[Moment] = []
        in_time = _listen(hears, walker, reached, time.monotonic() + limit)
        if not in_time:
            walker.kill()
        walker.join()
        hears.close()
        self._walker = None
        return Walked(walker.exitcode if in_time else None, tuple(reached), _last_line(log))

    def flow_run_state(self, flow_run_id: str) -> str | None:
        """The type of the state that Prefect shows of a flow run; None where it has none such."""
        import httpx

        if self._server is None:
            return None
        found = httpx.get(f"{self._server.api_url}/flow_runs/{flow_run_id}", timeout=30)
        return found.json().get("state_type") if found.is_success else None

    def end_left(self) -> list[str]:
        """Wait a little until no process is left of those that walked, then end them; which."""
        until = time.monotonic() + _GONE_SECONDS
        while (left := self._left()) and time.monotonic() < until:
            time.sleep(_LOOK_AGAIN)
        names: list[str] = []
        for process in left:
            with suppress(psutil.Error):
                names.append(" ".join(process.cmdline())[:200] or process.name())
                process.kill()
        return names

    def _left(self) -> list[psutil.Process]:
        """Everything below us that was not there before the first walk."""
        below = psutil.Process().children(recursive=True)
        return [one for one in below if one not in self._ours and not _is_over(one)]

    def _refuse_dead(self) -> None:
        if not all(one.is_running() and not _is_over(one) for one in self._ours):
            raise PrefectUnavailableError(
                "a process of the sandbox has ended",
                hint="keep it with --keep and look at its logs",
            )


def _walk(errand: Errand, told: connection.Connection) -> None:
    from deployments.prove.walker import walk  # by the child alone: it imports Prefect

    walk(errand, told)


def _listen(
    hears: connection.Connection, walker: BaseProcess, reached: list[Moment], until: float
) -> bool:
    """Note the moments that a process tells of until it has ended; False where that is too late."""
    while True:
        left = max(0.0, until - time.monotonic())
        ready = connection.wait([hears, walker.sentinel], left)
        if hears not in ready:
            return bool(ready)
        try:
            reached.append(hears.recv())
        except (EOFError, OSError):
            walker.join(max(0.0, until - time.monotonic()))
            return walker.exitcode is not None


def _refuse_long(folder: str) -> None:
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        raise SettingsError(
            f"the folder for temporary files is too far down for a socket: {folder}",
            hint=f"set TMPDIR to a folder whose path has at most {_LONGEST_FOLDER} bytes",
        )


@contextmanager
def _environment() -> Generator[None]:
    """What is started inside gets the sandbox's variables, and leaves Ctrl-C to us."""
    before = dict(os.environ)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _SOMEBODY_ELSES:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        signal.signal(signal.SIGINT, interrupt)


def _adopt_orphans(*, adopt: bool) -> None:
    """Have what killed processes leave become children of ours, so that we see it.

    Only Linux can; elsewhere, what has lost its parent stays unseen.
    """
    if sys.platform == "linux":
        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, int(adopt))


def _is_over(process: psutil.Process) -> bool:
    """Whether it has ended. An orphan that has is ours to bury."""
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return False
        if process.ppid() == os.getpid():
            os.waitpid(process.pid, os.WNOHANG)
    except (psutil.NoSuchProcess, ChildProcessError):
        pass
    return True


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
