"""Giving slots to 100,000 queued runs of 200 tenants: fairly, and beside it by a plain FIFO query.

Measured is the dispatcher's whole transaction, from the lock that dispatchers queue for to the
commit: who is next, its row, its event, its lock and where its tenant stands. FIFO makes the same
one, but takes the first of all tenants by priority and age. A quarter of the tenants are at a cap of
their own. Both take turns in one store, with as many slots taken as there may be. PostgreSQL flushes
each commit, as it does where work is not to be lost.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import String, insert, literal, select
from sqlalchemy import cast as as_type

from benchmarks.ratio import Ratio
from benchmarks.sweep import NOW, StoppedClock, a_run
from factory_runtime.domain.policy import Limits
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.ports import DispatchTransaction
from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.run_store.records import RUNS
from factory_runtime.run_store.tables import runs
from factory_runtime.services.dispatch import dispatch_next
from factory_runtime.services.locks import dispatcher_of, take_lock, walk_lock
from tests.services import running_postgres
from tests.small_factory import FlowRuns

TENANTS = 200
QUEUED = 100_000
BASES = 20
SLOTS = 64
ADMISSIONS = 200
TARGET_MS = 20.0
WORKER = "bench:1"


def main() -> tuple[Ratio, ...]:
    """Print milliseconds of an admission on both databases; the fair p95, and beside FIFO's."""
    ratios: list[Ratio] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="factory-bench-"))
        server = stack.enter_context(running_postgres(durable=True))
        urls = {
            "PostgreSQL": stack.enter_context(server.database()),
            "SQLite": f"sqlite:///{Path(folder) / 'factory.db'}",
        }
        for name, url in urls.items():
            with closing(open_run_store(url)) as store:
                ratios += _figures(name, store)
    return tuple(ratios)


def _figures(name: str, store: SqlRunStore) -> tuple[Ratio, Ratio]:
    queue(store)
    floor = Floor(store)
    fair = floor.fair
    for _ in range(SLOTS):
        fair()
    floor.took.clear()
    whole: list[float] = []
    fifo: list[float] = []
    for _ in range(ADMISSIONS):
        whole.append(_seconds(fair))
        fifo.append(_seconds(floor.fifo))
    for what, seconds in (
        ("fair, the transaction", floor.took),
        ("fair, with the look before it and Prefect's answer written down", whole),
        ("FIFO, the transaction", fifo),
    ):
        middle, slow = statistics.median(seconds) * 1e3, p95(seconds) * 1e3
        print(f"{name}: {what}: {middle:.1f} ms, p95 {slow:.1f} ms")
    ratio = statistics.median(floor.took) / statistics.median(fifo)
    return (
        Ratio(f"ms of a fair admission, p95, {name}", p95(floor.took) * 1e3, TARGET_MS),
        Ratio(f"fair admission / plain FIFO, {name}", ratio),
    )


def p95(seconds: list[float]) -> float:
    """The time that 95 of 100 stay below."""
    return statistics.quantiles(seconds, n=20)[-1]


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def limits_of(tenant_id: str) -> Limits:
    """Weights of 1 to 4, and a cap for every fourth tenant."""
    number = int(tenant_id.removeprefix("tenant-"))
    return Limits(weight=1 + number % 4, running_runs=1 if number % 4 == 0 else None)


class Floor:
    """The slots, all but one of them taken while an admission is measured.

    Attributes:
        took: seconds of each writing transaction of the dispatcher.
    """

    def __init__(self, store: SqlRunStore) -> None:
        self.took: list[float] = []
        self._store = store
        self._running = deque[Run]()
        self._timed: Any = _Timed(store, self.took)

    def fair(self) -> None:
        """Admit the run whose turn it is."""
        self._make_room()
        run = dispatch_next(self._timed, FlowRuns(), StoppedClock(), SLOTS, WORKER, limits_of)
        assert run is not None
        self._running.append(run)

    def fifo(self) -> None:
        """Admit the first of all, whosever it is."""
        self._make_room()
        with self._store.begin_dispatch() as dispatch:
            assert len(dispatch.holders()) < SLOTS
            (key,) = dispatch.waiting_runs(NOW, limit=1)
            tx = dispatch.of_tenant(key.tenant_id)
            run = tx.lock_run(key.run_id)
            admitted = run.move_to(RunStatus.QUEUED, NOW, admitted_at=NOW)
            tx.save_run(run, admitted)
            until = NOW + timedelta(seconds=60)
            take_lock(tx, walk_lock(run.id), dispatcher_of(WORKER), NOW, until)
        self._running.append(admitted)

    def _make_room(self) -> None:
        while len(self._running) >= SLOTS:
            run = self._running.popleft()
            with self._store.begin(run.tenant_id, durable=False) as tx:
                current = tx.get_run(run.id)
                tx.save_run(current, current.move_to(RunStatus.CANCELLED, NOW))


class _Timed:
    """A store that tells how long its dispatchers' writing transactions take."""

    def __init__(self, store: SqlRunStore, took: list[float]) -> None:
        self._store = store
        self._took = took

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def begin_dispatch(self, *, read_only: bool = False) -> Generator[DispatchTransaction]:
        started = time.perf_counter()
        with self._store.begin_dispatch(read_only=read_only) as dispatch:
            yield dispatch
        if not read_only:
            self._took.append(time.perf_counter() - started)


def queue(store: SqlRunStore, tenants: int = TENANTS, queued: int = QUEUED) -> None:
    """Queued runs of many tenants: some of each are made, and the database copies them."""
    priorities = list(Priority)
    first = [
        replace(
            a_run(RunStatus.VALIDATED),
            tenant_id=f"tenant-{number % tenants}",
            flow_run_id=None,
            project_id=f"project-{number % 7}",
            priority=priorities[number % 3],
            requested_at=NOW - timedelta(seconds=number * 7919 % 100_000),
        )
        for number in range(tenants * BASES)
    ]
    count = select(literal(1).label("n")).cte("numbers", recursive=True)
    copies = queued // len(first) - 1
    numbers = count.union_all(select(count.c.n + 1).where(count.c.n < copies))
    copied = [
        (column + literal("-") + as_type(numbers.c.n, String)).label("id")
        if column.name == "id"
        else column
        for column in runs.c
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(runs), [RUNS.row_of(run) for run in first])
        rows = select(*copied).select_from(runs.join(numbers, literal(1) == 1))
        connection.execute(insert(runs).from_select([column.name for column in runs.c], rows))
    with store.engine.connect() as connection:  # as autovacuum does
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
