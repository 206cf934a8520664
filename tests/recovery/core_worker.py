"""A process that executes runs with the core alone, without Prefect. Made to be killed."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import ConflictError, TransientError
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.dispatch import dispatch_next, give_back
from factory_runtime.services.end_run import close_run_if_done
from factory_runtime.services.engine import Walk, begin_walk, keep_walking, stop_walking
from factory_runtime.services.notes import write_notes
from factory_runtime.services.put_down import put_down
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from factory_runtime.services.sweep import sweep
from tests.fork_server import fork_server
from tests.recovery.core_ports import Core, NamesFlowRuns, Orders, Wrap
from tests.work_types import append

TIDY_EVERY = 0.25


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
    process = fork_server().Process(target=_main, args=(orders, job, wrap), daemon=True)
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
