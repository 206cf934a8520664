"""What a core worker works with: its ports, a few job types, and clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.records import Effect, OutboxMessage
from factory_runtime.domain.result import ConfirmedEffect, JobResult, WaitUntil
from factory_runtime.domain.run import Run
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.local import LocalGitHost
from factory_runtime.jobs.publishing import commit_tree, probe_commit
from factory_runtime.ports import (
    Clock,
    FileTree,
    GitHost,
    JobContext,
    JobType,
    RunStore,
)
from factory_runtime.run_store import SqlRunStore, open_run_store, tables
from factory_runtime.services import topics
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.drain_outbox import drain_outbox
from factory_runtime.services.engine import Engine
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.services.settle_effects import EffectSettler
from factory_runtime.services.stop_outside import OutsideStopper
from factory_runtime.telemetry import worker_name
from tests.work_types import ANYTHING, JOB_TYPES, QUICK, Count, Work


@dataclass(frozen=True)
class Orders:
    """How a worker is to be.

    Attributes:
        database: URL of the run store.
        home: folder of templates, artifact bodies, repositories, and what workers write down.
        cap: how many runs may have a slot at once, over all workers.
        at_once: how many runs this one executes at once.
        lease: seconds.
        jump_every: its clock is an hour ahead, right, an hour behind, right, for so many seconds each.
        drains: whether it drains the outbox; else somebody else does.
        count_version: of the job type ``count``.
        count_reads: versions of its checkpoints that it reads.
    """

    database: str
    home: Path
    cap: int = 4
    at_once: int = 1
    lease: float = 60.0
    jump_every: float | None = None
    drains: bool = True
    count_version: str = "1"
    count_reads: tuple[str, ...] = ()

    @property
    def gone_wrong(self) -> Path:
        """What no worker should ever meet."""
        return self.home / "gone-wrong"

    @property
    def refusals(self) -> Path:
        """A line for each run, sweep or drain that could not go on, with the error's code."""
        return self.home / "refusals"

    @property
    def room(self) -> Path:
        """Once it is there, the disk is full no more."""
        return self.home / "room"

    @property
    def walks(self) -> Path:
        """A line for each time that a worker took a run up."""
        return self.home / "walks"


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class JumpingClock:
    """Is an hour ahead and an hour behind in turns."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._began = time.monotonic()

    def now(self) -> datetime:
        turn = int((time.monotonic() - self._began) / self._every) % 4
        return datetime.now(UTC) + timedelta(hours=(1, 0, -1, 0)[turn])


class Commit(Work):
    """One commit of one small file into a repository that is there."""

    facts = JobTypeFacts("commit", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        facts = context.facts
        file = TreeFile(f"{facts.run_id}/{facts.step}", facts.effect_key.encode())
        commit = commit_tree(context, with_["repository"], OneFile(file), "Work")
        return JobResult(effects=(ConfirmedEffect("commit", commit.sha),))

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        return probe_commit(host, effect)


class OneFile:
    """Implements ports.FileTree, as far as a commit asks for it."""

    def __init__(self, file: TreeFile) -> None:
        self._file = file

    @property
    def reference(self) -> Any:
        raise NotImplementedError("it was never packed")

    def files(self) -> Generator[TreeFile]:
        yield self._file


class Fill(Work):
    """Its outputs are so large that they have to go to artifact storage."""

    facts = JobTypeFacts("fill", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        return JobResult(outputs={"text": context.facts.effect_key[-1] * with_["bytes"]})


class Patient(Work):
    """Waits a little the first time that it is asked."""

    facts = JobTypeFacts("patient", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult | WaitUntil:
        del with_, tree
        if context.facts.attempt > 1:
            return JobResult()
        return WaitUntil(context.now() + timedelta(seconds=0.06), "waits for its turn")


class NamesFlowRuns:
    """Implements ports.Launcher without a Prefect."""

    def launch(self, run: Run) -> str:
        return run.flow_run_id or f"flow-of-{run.id}"

    def hand_over(self, run: Run) -> timedelta:
        del run
        return timedelta(0)

    def find_unattended(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        del flow_run_ids
        return frozenset()

    def show_status(self, run: Run) -> None:
        del run

    def find_cancelled(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        del flow_run_ids
        return frozenset()


Wrap = Callable[[SqlRunStore], RunStore]


class Core:
    """The ports of one worker, over one database and one folder."""

    def __init__(self, orders: Orders, wrap: Wrap | None = None) -> None:
        self.orders = orders
        self._wrap = wrap
        self.clock: Clock = SystemClock()
        if orders.jump_every is not None:
            self.clock = JumpingClock(orders.jump_every)
        self.storage = LocalArtifactStorage(orders.home / "artifacts")
        self.host = LocalGitHost(orders.home / "git")
        types: list[JobType] = [*JOB_TYPES, Commit(), Fill(), Patient()]
        self.job_types: dict[str, JobType] = {one.facts.name: one for one in types}
        count = Count()
        count.facts = replace(
            Count.facts, version=orders.count_version, reads_checkpoints_of=orders.count_reads
        )
        self.job_types["count"] = count

    @cached_property
    def database(self) -> SqlRunStore:
        return open_run_store(self.orders.database)

    @cached_property
    def store(self) -> RunStore:
        return self.database if self._wrap is None else self._wrap(self.database)

    @cached_property
    def engine(self) -> Engine:
        return Engine(
            store=self.store,
            storage=self.storage,
            host=self.host,
            job_types=self.job_types,
            clock=self.clock,
            worker=worker_name(),
            environment="tests",
            lease=timedelta(seconds=self.orders.lease),
        )

    @cached_property
    def desk(self) -> RequestDesk:
        facts = {name: job_type.facts for name, job_type in self.job_types.items()}
        catalog = TemplateCatalog([self.orders.home / "templates"], facts)
        return RequestDesk(self.store, self.storage, catalog, self.clock)

    def count_open_runs(self) -> int:
        open_ones = select(func.count()).where(tables.runs.c.completed_at.is_(None))
        with self.database.engine.connect() as connection:
            return connection.execute(open_ones).scalar_one()

    def drain(self) -> None:
        """Handle what the outbox holds; what is Prefect's or the memory's has been done then."""
        settler = EffectSettler(self.store, self.host, self.job_types, self.clock)
        stopper = OutsideStopper(self.store, self.host, self.job_types, self.clock)
        handlers: dict[str, Callable[[OutboxMessage], None]] = {
            topics.SETTLE_EFFECTS: settler.settle,
            topics.STOP_OUTSIDE: stopper.stop,
            **dict.fromkeys((topics.MEMORY_OF_RUN, topics.MEMORY_OF_TEMPLATE), _done),
            topics.MEMORY_OF_CODE: _done,
            **dict.fromkeys((topics.SHOW_RUN, topics.SHOW_STATUS), _done),
            **dict.fromkeys((topics.NOTICE, topics.PREFECT_EVENT, topics.SIGNALS), _done),
        }
        drain_outbox(self.store, self.clock, handlers, worker_name())


def _done(message: OutboxMessage) -> None:
    del message
