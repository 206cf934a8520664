"""What core workers work on, seen from a test: requests, and whether ledger and world agree."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import delete, select

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.domain.ids import effect_key
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.run_store import tables
from factory_runtime.run_store.records import ATTEMPTS, EFFECTS, JOBS, RUNS, Record
from factory_runtime.services import topics
from factory_runtime.services.request_run import request_run
from tests.factory import git
from tests.recovery.core_ports import Core, Orders, Wrap
from tests.recovery.core_worker import CoreWorker, Job, start
from tests.work_types import a_work_template, lines_of

TENANT, PROJECT = "acme", "shop"


class Later:
    """A clock that is a day ahead."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=1)


class CoreSite:
    """One home, one database, the runs asked for and the workers that were started."""

    def __init__(self, database: str, home: Path, **orders: Any) -> None:
        home.mkdir(exist_ok=True)
        self.orders = Orders(database, home, **orders)
        self.core = Core(self.orders)
        self.workers: list[BaseProcess] = []
        self.runs: list[Run] = []
        self.template(*self.steps())

    # what is asked for

    def template(self, *steps: str, name: str = "work") -> None:
        folder = self.orders.home / "templates" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "template.yaml").write_text(a_work_template(name, *steps, deadline="8h"))

    def steps(self, repository: str = "r0") -> tuple[str, ...]:
        """A line, a commit and another line."""
        touch = f"type: touch, with: {{file: '{self.lines(repository)}'}}"
        return (
            f"name: first, {touch}",
            f"name: commit, type: commit, needs: [first], with: {{repository: {repository}}}",
            f"name: last, needs: [commit], {touch}",
        )

    def lines_only(self) -> tuple[str, ...]:
        """Three lines."""
        touch = f"type: touch, with: {{file: '{self.lines('light')}'}}"
        return (
            f"name: first, {touch}",
            f"name: second, needs: [first], {touch}",
            f"name: last, needs: [second], {touch}",
        )

    def repositories(self, count: int) -> list[str]:
        """So many repositories, each with a template of its name that works on it."""
        names = [f"r{number}" for number in range(count)]
        for name in names:
            self.core.host.ensure_repository(
                TENANT, PROJECT, name, effect_key="tests", description="Work"
            )
            self.template(*self.steps(name), name=name)
        return names

    def lines(self, name: str) -> Path:
        return self.orders.home / f"lines-{name}"

    def request(self, template: str = "work", **values: Any) -> Run:
        request = RunRequest(TENANT, PROJECT, template, {}, "tester", **values)
        self.runs.append(request_run(self.core.desk, request))
        return self.runs[-1]

    # who does it

    def start(
        self, job: Job = CoreWorker.serve, wrap: Wrap | None = None, **orders: Any
    ) -> BaseProcess:
        """Start a worker; ``orders`` are its own."""
        self.workers.append(start(replace(self.orders, **orders), job, wrap))
        return self.workers[-1]

    def end(self) -> None:
        """Ask every worker to end, in good order."""
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.terminate()
        for worker in self.workers:
            # One that has just begun to drain the outbox does so to its end: thousands of messages
            # after thousands of runs, at 6 ms each on a good day.
            worker.join(300)
            if worker.exitcode is None:
                worker.kill()
                raise AssertionError(f"worker {worker.pid} does not end")

    def close(self) -> None:
        """Leave no process and no connection behind, whatever became of the test."""
        for worker in self.workers:
            worker.kill()
            worker.join()
        if "database" in vars(self.core):
            self.core.database.close()

    # what became of it

    def run(self, run: Run) -> Run:
        with self.core.store.begin(TENANT, read_only=True) as tx:
            return tx.get_run(run.id)

    def open_runs(self) -> int:
        return self.core.count_open_runs()

    def until_all_have_ended(self, seconds: float = 120) -> None:
        self.until(lambda: self.open_runs() == 0, seconds)

    def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        give_up = time.monotonic() + seconds
        while not _surely(holds):
            assert time.monotonic() < give_up, self.standing()
            assert not self.gone_wrong(), self.gone_wrong()
            time.sleep(0.05)

    def standing(self) -> Any:
        return Counter((run.status, run.error) for run in self.rows(RUNS))

    def gone_wrong(self) -> str:
        place = self.orders.gone_wrong
        return place.read_text() if place.exists() else ""

    def rows(self, record: Record[Any]) -> list[Any]:
        with self.core.database.engine.connect() as connection:
            rows = connection.execute(select(*record.columns)).mappings()
            return [record.value_of(row) for row in rows]

    def assert_whole(self) -> None:
        """Every run has Succeeded with each effect once; nothing is held, nothing left behind."""
        # Some messages were left by a clock that was ahead.
        later = Core(self.orders)
        later.clock = Later()
        with closing(later.database):
            if not self.orders.drains:  # those of the memory and of Prefect nobody misses
                with later.database.engine.begin() as connection:
                    gone = tables.outbox.c.topic != topics.SETTLE_EFFECTS
                    connection.execute(delete(tables.outbox).where(gone))
            later.drain()
        assert not self.gone_wrong()
        self._assert_ended()
        self._assert_the_world_agrees()
        self._assert_nothing_is_left()

    def _assert_ended(self) -> None:
        runs, jobs = self.rows(RUNS), self.rows(JOBS)
        assert {run.id for run in runs} == {run.id for run in self.runs}
        assert {run.status for run in runs} == {RunStatus.SUCCEEDED}, self.standing()
        assert {job.status for job in jobs} <= {JobStatus.SUCCEEDED, JobStatus.SKIPPED}
        attempts = self.rows(ATTEMPTS)
        assert all(attempt.outcome is not None for attempt in attempts)
        succeeded = Counter(
            (attempt.run_id, attempt.step)
            for attempt in attempts
            if attempt.outcome is Outcome.SUCCEEDED
        )
        assert succeeded == Counter(
            (job.run_id, job.step) for job in jobs if job.status is JobStatus.SUCCEEDED
        )
        assert Counter(a.key for a in attempts).most_common(1)[0][1] == 1
        numbers: dict[tuple[str, str], list[int]] = {}
        for attempt in attempts:
            numbers.setdefault((attempt.run_id, attempt.step), []).append(attempt.number)
        assert all(sorted(given) == list(range(1, len(given) + 1)) for given in numbers.values())

    def _assert_the_world_agrees(self) -> None:
        """Each effect is confirmed, and is in the world once, and nothing else is."""
        effects = self.rows(EFFECTS)
        assert {effect.status for effect in effects} <= {EffectStatus.CONFIRMED}
        of_step = {(job.run_id, job.step): job.type for job in self.rows(JOBS)}
        known = {"touch": "line", "commit": "commit"}
        expected = Counter(
            (effect_key(*step), known[kind]) for step, kind in of_step.items() if kind in known
        )
        assert Counter((e.effect_key, e.kind) for e in effects) == expected
        commits, lines = self.commits(), self.all_lines()
        assert commits == {e.effect_key: [e.reference] for e in effects if e.kind == "commit"}
        assert Counter(lines) == Counter(e.reference for e in effects if e.kind == "line")

    def _assert_nothing_is_left(self) -> None:
        assert self.core.store.running_runs() == ()
        with self.core.store.begin_dispatch() as dispatch:
            assert len(dispatch.holders()) == 0
        jobs = self.rows(JOBS)
        assert {(job.lease_owner, job.lease_expires_at) for job in jobs} <= {(None, None)}
        assert self.core.store.due_messages(Later().now()) == ()
        assert all(worker.exitcode is not None for worker in self.workers)
        self.until(lambda: not processes_at(self.orders.home), 10)

    def all_lines(self) -> list[str]:
        files = self.orders.home.glob("lines-*")
        return [line for file in sorted(files) for line in lines_of(file)]

    def commits(self) -> Mapping[str, Sequence[str]]:
        """Effect key → the commits that carry it, in any repository."""
        found: dict[str, list[str]] = {}
        word = "%(trailers:key={},valueonly,separator=)"
        shape = f"--format=%H {word.format('Factory-Run')} {word.format('Factory-Step')}"
        for place in (self.orders.home / "git").glob("*/*/*.git"):
            # One that nobody has committed to has no branch yet.
            for line in git("log", "--all", shape, cwd=place).splitlines():
                sha, run_id, step = line.split()
                found.setdefault(effect_key(run_id, step), []).append(sha)
        return found


def processes_at(home: Path) -> list[int]:
    """Processes that were told of anything below a folder: git, and what jobs start."""
    found: list[int] = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words: Iterable[str] = process.info["cmdline"] or ()  # pyright: ignore[reportUnknownMemberType,reportAttributeAccessIssue] - psutil adds it
        if any(f"{home}/" in word for word in words):
            found.append(process.pid)
    return found


def _surely(holds: Callable[[], bool]) -> bool:
    """False where the store is away, too."""
    from sqlalchemy.exc import OperationalError

    with suppress(StoreUnavailableError, OperationalError):
        return holds()
    return False
