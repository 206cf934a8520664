"""Processes that execute the runs of a home; each can be killed, stopped and ended by itself.

``python -m tests.executors`` is their nursery: it imports once what takes them seconds to import,
and forks one for each line of JSON that it reads.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import gc
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import make_url, text, update

from deployments import executor
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.memory.in_memory import InMemoryMemoryIndex, WordsEmbedder
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.tables import outbox
from factory_runtime.services.topics import BACKGROUND, MEMORY_OF_RUN
from factory_runtime.settings import Settings
from tests import warm_birth
from tests.factory import Factory, until
from tests.prefect_database import place_database
from tests.prefect_server import Prefect

_POLL = 0.2
"""Seconds; ten looks a second are a tenth of what an executor takes that has nothing to do."""

PATIENCE = 60.0
"""Seconds that anything may take on a machine that is busy with something else."""


class Executor:
    """A process that executes runs.

    Attributes:
        may_end: whether somebody has ended it, or its runs may.
    """

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.pid = process.pid
        self.may_end = False

    @property
    def lives(self) -> bool:
        with suppress(psutil.NoSuchProcess):
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        return False

    def below(self) -> list[psutil.Process]:
        """What it has started, and what that has."""
        with suppress(psutil.NoSuchProcess):
            return self.process.children(recursive=True)
        return []

    def kill(self) -> list[psutil.Process]:
        """SIGKILL; what it had started has to go by itself."""
        below, self.may_end = self.below(), True
        with suppress(psutil.NoSuchProcess):
            self.process.kill()
        self.wait()
        return below

    def tell_to_end(self) -> None:
        self.may_end = True
        self.process.terminate()

    def end(self) -> None:
        """End it in good order."""
        self.tell_to_end()
        self.wait()

    def wait(self) -> None:
        try:
            until(lambda: not self.lives, f"executor {self.pid} is gone", PATIENCE)
        except AssertionError:
            self.process.send_signal(signal.SIGUSR1)  # its log tells what every thread does
            time.sleep(1)
            raise


class Nursery:
    """Where executors come from: each is there within a moment."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.executors"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def bear(self, **order: Any) -> Executor:
        """Have one forked; what it is told is said at ``_live``, or at ``live_beside``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, self.log.read_text()
        return Executor(psutil.Process(int(said)))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


class Site(Factory):
    """A factory whose executors are started one by one; its Prefect server is shared."""

    def __init__(self, home: Path, nursery: Nursery, server: Prefect, **settings: Any) -> None:
        super().__init__(
            home,
            job_types=("tests.work_types",),
            prefect_api_url=server.api_url,
            **{"lease_seconds": 2} | settings,
        )
        self.server = server
        self.files = home / "files"
        self.files.mkdir()
        self.settings.stack_folder.mkdir(parents=True, exist_ok=True)
        self._nursery = nursery
        self._executors: list[Executor] = []

    def execute(self, run: Run | None = None, **order: Any) -> Executor:
        """Another executor: of all runs; or, like a Prefect worker's, of one run's flow run alone.

        ``tidy`` is the seconds between its sweeps, None for those between a stack's; ``host`` is
        the name that its machine has for it; ``first`` is what it calls before all else, as
        ``module:function``.
        """
        given = {"run": None if run is None else run.id, "environment": self._variables()}
        born = self._nursery.bear(**given | order)
        self._executors.append(born)
        return born

    def until(
        self,
        true: Callable[[], Any],
        what: str,
        seconds: float = PATIENCE,
        *,
        every: float = 0.05,
    ) -> None:
        """Wait until a condition holds; not in vain, for executors that have broken down."""

        def holds() -> bool:
            broken = [one.pid for one in self._executors if not (one.lives or one.may_end)]
            assert not broken, f"{broken} ended:\n{self._nursery.log.read_text()[-5000:]}"
            return bool(true())

        until(holds, what, seconds, every=every)

    def wait(self, run: Run, *statuses: RunStatus) -> Run:
        def reached() -> bool:
            current = self.run(run)
            return current.ended or current.status in statuses

        self.until(reached, f"{run.id} is {' or '.join(statuses) or 'at its end'}", every=0.1)
        return self.run(run)

    def close(self) -> None:
        for one in self._executors:
            for left in [*one.kill(), one.process]:
                with suppress(psutil.NoSuchProcess):
                    left.kill()
        self.runtime.store.close()

    def file(self, name: str) -> Path:
        """For what jobs do outside."""
        return self.files / name

    def work(self, name: str, *steps: str, **more: str) -> None:
        """Write a template of ``tests.work_types``; ``FILES`` in a step is this site's folder."""
        from tests.work_types import a_work_template

        said = [step.replace("FILES", str(self.files)) for step in steps]
        self.template(name, a_work_template(name, *said, **more))

    def stop(self, one: Executor | None = None) -> None:
        """SIGSTOP, between two transactions: one that is stopped in its commit holds up all."""
        assert one is not None
        while True:
            one.process.suspend()
            if self._nobody_writes():
                return
            one.process.resume()
            time.sleep(0.02)

    def rows(self, run: Run) -> tuple[Any, ...]:
        """Everything that the store holds of a run, but for messages."""
        with self.runtime.store.begin(run.tenant_id, read_only=True) as tx:
            jobs = tx.list_jobs(run.id)
            return (
                tx.get_run(run.id),
                jobs,
                tx.list_attempts(run.id),
                tx.list_events(run.id),
                tx.list_effects(run_id=run.id),
                tx.list_artifacts(run_id=run.id),
                [tx.find_checkpoint(run.id, job.step) for job in jobs],
            )

    def outcomes(self, run: Run, step: str) -> list[str]:
        """How the attempts of a job ended, in their order."""
        with self.runtime.store.begin(run.tenant_id, read_only=True) as tx:
            return [str(attempt.outcome) for attempt in tx.list_attempts(run.id, step)]

    def walker(self, run: Run) -> str | None:
        """Who holds the run."""
        with self.runtime.store.begin(run.tenant_id, read_only=True) as tx:
            return tx.find_lock_holder(f"run:{run.id}", self.runtime.clock.now())

    def settle(self, run: Run) -> None:
        """Wait until nothing of the run is left in the outbox; what is for later is done soon."""
        later = ", ".join(f"'{topic}'" for topic in sorted(BACKGROUND))
        mine = f"done_at IS NULL AND key LIKE '{run.id}%' AND topic NOT IN ({later})"

        def is_empty() -> bool:
            if not self._count(f"outbox WHERE {mine}"):
                return True
            self._hasten(mine)
            time.sleep(0.5)
            return False

        self.until(is_empty, f"the outbox has nothing of {run.id}")

    def is_remembered(self, run: Run) -> bool:
        """Whether somebody has handled the message that the run's end has left for the memory."""
        mine = f"topic = '{MEMORY_OF_RUN}' AND key LIKE '{run.id}%'"
        return self._count(f"outbox WHERE done_at IS NOT NULL AND {mine}") > 0

    def make_due(self, run: Run) -> None:
        """What the run and its jobs wait for is due now."""
        now = self.runtime.clock.now()
        with self.runtime.store.begin(run.tenant_id) as tx:
            current = tx.lock_run(run.id)
            tx.save_run(current, current.changed(now, wake_at=now))
            for job in tx.list_jobs(run.id):
                if job.not_before is not None and not job.ended:
                    tx.save_job(job, job.changed(now, not_before=now))

    def shown(self, run: Run) -> tuple[str, str]:
        """Type and name of Prefect's state of it."""
        flow_run_id = self.run(run).flow_run_id
        assert flow_run_id is not None
        return self.server.state(flow_run_id)

    def until_shown(self, run: Run, *state: str) -> None:
        def is_shown() -> bool:
            if self.shown(run) == state:
                return True
            time.sleep(0.2)  # asked all the time, the server has time for nothing else
            return False

        self.until(is_shown, f"Prefect shows {run.id} as {state}")

    def until_status(self, run: Run, status: RunStatus) -> Run:
        reached = self.wait(run, status)
        assert reached.status is status, (reached.error, self.jobs(run))
        return reached

    def _variables(self) -> dict[str, str]:
        return {k: v for k, v in self.environment().items() if k.startswith("FACTORY_")}

    def _count(self, table: str) -> int:
        store = self.runtime.store
        assert isinstance(store, SqlRunStore)
        with store.engine.connect() as connection:
            return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 - ours

    def _hasten(self, messages: str) -> None:
        """Have messages handled at once, and not when they have waited long enough."""
        store = self.runtime.store
        assert isinstance(store, SqlRunStore)
        with store.engine.begin() as connection:
            now = self.runtime.clock.now()
            connection.execute(update(outbox).where(text(messages)).values(not_before=now))

    def _nobody_writes(self) -> bool:
        store = self.runtime.store
        assert isinstance(store, SqlRunStore)
        url = make_url(self.settings.run_store_url)
        if url.get_backend_name() != "sqlite":
            open_ones = "pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT"
            return self._count(f"{open_ones} NULL AND pid <> pg_backend_pid()") == 0
        import sqlite3

        look = sqlite3.connect(str(url.database), timeout=0, isolation_level=None)
        try:
            look.execute("BEGIN IMMEDIATE")
            look.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        else:
            return True
        finally:
            look.close()


@contextmanager
def shared_prefect(home: Path) -> Generator[Prefect]:
    """A Prefect server with a database of its own, for executors of many homes."""
    settings = Settings(home=home)
    settings.stack_folder.mkdir(parents=True)
    place_database(settings.prefect_folder)
    server = executor.PrefectServer(settings)
    before = dict(os.environ)
    try:
        executor.set_prefect(settings, server.api_url)
        server.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    try:
        asyncio.run(server.wait_until_ready())
        yield Prefect(server.api_url)
    finally:
        server.stop()
        if (child := server._child) is not None and child.stdin is not None:  # pyright: ignore[reportPrivateUsage] - pytest tells on pipes left open
            child.stdin.close()


# The nursery's side.


def main() -> None:
    """Fork one executor for each line; they end with this process."""
    gc.disable()
    import deployments.dispatcher  # pyright: ignore[reportUnusedImport] # noqa: F401 - this is what takes so long
    from factory_runtime.orchestration import launch  # pyright: ignore[reportUnusedImport] # noqa: F401
    from factory_runtime.run_store import open_run_store  # pyright: ignore[reportUnusedImport] # noqa: F401
    from tests import work_types  # pyright: ignore[reportUnusedImport] # noqa: F401

    gc.freeze()  # or collecting in an executor copies the memory of the nursery
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        order = json.loads(line)
        if "words" in order:
            warm_birth.import_what_workers_import()
        born = os.fork()
        if born == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = 1
            try:
                code = _live_beside(**order) if "words" in order else _live(**order)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        sys.stdout.write(f"{born}\n")
        sys.stdout.flush()


def _live_beside(**order: Any) -> int:
    _hold_on_to_nothing()
    return warm_birth.live_beside(**order)


def _live(
    environment: Mapping[str, str],
    run: str | None = None,
    tidy: float | None = 0.3,
    host: str | None = None,
    first: str | None = None,
) -> int:
    """Be an executor; the exit code."""
    _hold_on_to_nothing()
    os.environ.update(environment)
    settings = Settings()
    # As the stack does for a server of its own.
    executor.set_prefect(
        settings.model_copy(update={"prefect_api_url": None}), str(settings.prefect_api_url)
    )
    from prefect.context import refresh_global_settings_context

    from deployments import dispatcher

    refresh_global_settings_context()
    if tidy is not None:
        dispatcher._TIDY_EVERY = tidy  # pyright: ignore[reportPrivateUsage]
    dispatcher._POLL = _POLL  # pyright: ignore[reportPrivateUsage]
    if host is not None:
        import socket

        socket.gethostname = lambda: host
    if first is not None:
        pkgutil.resolve_name(first)()
    executor.open_runtime = _without_memory
    if run is not None:
        asyncio.run(_execute(dispatcher.Dispatcher(_without_memory(settings)), run))
    else:
        faulthandler.register(signal.SIGUSR1)
        executor.run_executor(settings, None, str(settings.prefect_api_url), keep=True)
    executor._flush_prefect()  # pyright: ignore[reportPrivateUsage]
    return 0


def _without_memory(settings: Settings | None = None) -> Runtime:
    """A runtime that remembers nothing: loading the model takes each process seconds."""
    runtime = open_runtime(settings)
    embedder = WordsEmbedder()
    vars(runtime).update(embedder=embedder, memory=InMemoryMemoryIndex(embedder))
    return runtime


async def _execute(dispatcher: Any, run_id: str) -> None:
    runtime = dispatcher._runtime
    with runtime.store.begin("local", read_only=True) as tx:
        run = tx.get_run(run_id)
    await dispatcher._run(run)


def _hold_on_to_nothing() -> None:
    """End with the nursery, and leave its pipes to it."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)


if __name__ == "__main__":
    import logging

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    main()
