"""A process that executes runs with the core alone, without Prefect. Made to be killed."""

from __future__ import annotations

import ctypes
import inspect
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

from sqlalchemy import func, select

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import ConflictError, TransientError
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.records import Effect, OutboxMessage
from factory_runtime.domain.result import ConfirmedEffect, JobResult, WaitUntil
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.local import LocalGitHost
from factory_runtime.jobs.publishing import commit_tree, probe_commit
from factory_runtime.ports import (
    Clock,
    DispatchTransaction,
    FileTree,
    GitHost,
    JobContext,
    JobType,
    RunStore,
    RunTransaction,
)
from factory_runtime.run_store import SqlRunStore, open_run_store, tables
from factory_runtime.services import topics
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.dispatch import dispatch_next, give_back
from factory_runtime.services.drain_outbox import drain_outbox
from factory_runtime.services.end_run import close_run_if_done
from factory_runtime.services.engine import Engine, Walk, begin_walk, keep_walking, stop_walking
from factory_runtime.services.notes import write_notes
from factory_runtime.services.put_down import put_down
from factory_runtime.services.request_run import RequestDesk
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from factory_runtime.services.settle_effects import EffectSettler
from factory_runtime.services.sweep import sweep
from factory_runtime.telemetry import worker_name
from tests.work_types import ANYTHING, JOB_TYPES, QUICK, Count, Work, append

T = TypeVar("T")

TIDY_EVERY = 0.25


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
        handlers: dict[str, Callable[[OutboxMessage], None]] = {
            topics.SETTLE_EFFECTS: settler.settle,
            **dict.fromkeys((topics.MEMORY_OF_RUN, topics.MEMORY_OF_TEMPLATE), _done),
            **dict.fromkeys((topics.SHOW_RUN, topics.SHOW_STATUS), _done),
        }
        drain_outbox(self.store, self.clock, handlers, worker_name())


class CoreWorker:
    """Executes runs: what the flow and its dispatcher do, but for Prefect."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.ending = threading.Event()
        self._begun: dict[str, tuple[Walk, Begun | None]] = {}

    def end(self) -> None:
        """Put the runs down at the next safe point of their jobs."""
        self.ending.set()
        for walk, _ in list(self._begun.values()):
            walk.suspending.set()

    def serve(self) -> None:
        """Execute runs until told to end."""
        threads = [
            threading.Thread(target=self._carefully, args=(work, pause), daemon=True)
            for work, pause in [
                (self.beat, self.core.orders.lease / 4),
                *[(self.execute_next, 0.05)] * self.core.orders.at_once,
            ]
        ]
        for thread in threads:
            thread.start()
        self._carefully(self.tidy, TIDY_EVERY)
        for thread in threads:
            thread.join()

    def work_off(self) -> None:
        """Execute runs in this thread until none wants a slot."""
        while not self.ending.is_set() and self.execute_next():
            pass

    def tidy(self) -> None:
        sweep(self.core.store, self.core.clock)
        if self.core.orders.drains:
            self.core.drain()

    def beat(self) -> None:
        """Renew what this worker holds, and write down what its jobs have to say."""
        for walk, begun in list(self._begun.values()):
            keep_walking(self.core.engine, walk)
            if begun is not None:
                write_notes(self.core.engine, walk, begun)

    def execute_next(self) -> bool:
        """Execute the next run that wants a slot; False where there is none."""
        core = self.core
        run = dispatch_next(
            core.store, NamesFlowRuns(), core.clock, core.orders.cap, core.engine.worker
        )
        if run is None:
            return False
        try:
            self._execute(run)
        except (ConflictError, TransientError) as error:
            append(str(core.orders.refusals), error.code)
            with suppress(TransientError):
                give_back(core.store, core.clock, run, core.engine.worker)
        return True

    def _execute(self, run: Run) -> None:
        engine = self.core.engine
        walk = begin_walk(engine, run.tenant_id, run.id, str(run.flow_run_id))
        if isinstance(walk, Run):
            return
        append(str(self.core.orders.walks), run.id)
        self._begun[run.id] = (walk, None)
        try:
            self._walk(walk)
        finally:
            del self._begun[run.id]
            with suppress(TransientError):
                stop_walking(engine, walk)

    def _walk(self, walk: Walk) -> None:
        """Its jobs one after the other, in the plan's order."""
        engine = self.core.engine
        for name in walk.jobs:
            while name not in walk.endings:
                if self.ending.is_set():
                    put_down(engine, walk)
                    return
                not_before = walk.jobs[name].not_before or engine.clock.now()
                left = not_before - engine.clock.now()
                if left > timedelta(0):
                    self.ending.wait(left.total_seconds())
                    continue
                another = self._attempt(walk, name)
                if isinstance(another, AnotherAttempt) and another.outcome is Outcome.WAITING:
                    put_down(engine, walk, RunStatus.WAITING, another.not_before)
                    return
        close_run_if_done(engine, walk)

    def _attempt(self, walk: Walk, name: str) -> Ending | AnotherAttempt:
        engine = self.core.engine
        begun = begin_attempt(engine, walk, name)
        if not isinstance(begun, Begun):
            return begun
        self._begun[walk.run.id] = (walk, begun)
        try:
            return publish_attempt(engine, walk, begun, None)
        except Exception as error:
            return fail_attempt(engine, walk, begun, error)
        finally:
            self._begun[walk.run.id] = (walk, None)

    def _carefully(self, work: Callable[[], Any], pause: float) -> None:
        """Do it again and again; only a store that is away, and others' work, may keep it from."""
        while not self.ending.is_set():
            try:
                if work():
                    continue
            except (TransientError, ConflictError) as error:
                append(str(self.core.orders.refusals), error.code)
            except BaseException:
                append(str(self.core.orders.gone_wrong), traceback.format_exc())
                raise
            self.ending.wait(pause)


def _done(message: OutboxMessage) -> None:
    del message


class SignallingStore:
    """Implements ports.RunStore: this process signals itself around one commit.

    The commit is the ``nth`` of those that one place in the code asks for.
    """

    def __init__(
        self, store: SqlRunStore, place: str, nth: int, number: int, *, committed: bool
    ) -> None:
        self.asked: list[str] = []
        """Who began a writing transaction, in their order."""
        self._store = store
        self._at = (place, nth)
        self._number = number
        self._committed = committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def begin(
        self, tenant_id: str, *, read_only: bool = False, durable: bool = True
    ) -> AbstractContextManager[RunTransaction]:
        begun = self._store.begin(tenant_id, read_only=read_only, durable=durable)
        return begun if read_only else self._signalling(begun, _caller())

    def begin_dispatch(self) -> AbstractContextManager[DispatchTransaction]:
        return self._signalling(self._store.begin_dispatch(), _caller())

    @contextmanager
    def _signalling(self, begun: AbstractContextManager[T], caller: FrameType) -> Generator[T]:
        place = caller.f_code.co_qualname.removesuffix(".<locals>.write")
        self.asked.append(place)
        signals = (place, self.asked.count(place)) == self._at
        with begun as tx:
            yield tx
            if signals and not self._committed:
                os.kill(os.getpid(), self._number)
        if signals and self._committed:
            os.kill(os.getpid(), self._number)


def signalling(place: str, nth: int, number: int, *, committed: bool) -> Wrap:
    """Have a worker signal itself when ``place`` commits for the ``nth`` time, before or after."""
    return partial(_signalling, place=place, nth=nth, number=number, committed=committed)


def _signalling(store: SqlRunStore, **how: Any) -> RunStore:
    return cast(RunStore, SignallingStore(store, **how))


def _caller() -> FrameType:
    """Who called the function that calls this one."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    assert frame.f_back.f_back is not None
    return frame.f_back.f_back


# --- the process


def work_off(worker: CoreWorker) -> None:
    """Execute what there is, in this thread, until every run has ended or it is told to end."""
    worker.tidy()
    while not worker.ending.is_set() and worker.core.count_open_runs():
        if not worker.execute_next():
            time.sleep(0.02)


def serve_in_small_files(worker: CoreWorker) -> None:
    """Execute runs; no file may be larger than 48 KiB until there is a file called ``room``."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (48 * 1024, most))

    def make_room() -> None:
        while not worker.core.orders.room.exists():
            time.sleep(0.02)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    threading.Thread(target=make_room, daemon=True).start()
    worker.serve()


Job = Callable[[CoreWorker], None]


def start(orders: Orders, job: Job = CoreWorker.serve, wrap: Wrap | None = None) -> BaseProcess:
    """Start a worker. It dies with the tests; SIGTERM asks it to end in good order.

    Args:
        orders: how it is to be.
        job: what it does.
        wrap: puts something around its store.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # half a second of imports, once
    process = context.Process(target=_main, args=(orders, job, wrap), daemon=True)
    process.start()
    return process


def _main(orders: Orders, job: Job, wrap: Wrap | None) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the parent
    worker = CoreWorker(Core(orders, wrap))

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        worker.end()

    signal.signal(signal.SIGTERM, end)
    job(worker)
    os._exit(0)
