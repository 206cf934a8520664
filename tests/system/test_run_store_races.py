"""Threads and processes contending for the rows of a real database."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import (
    PermanentError,
    StaleVersionError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import InMemoryRunStore, SqlRunStore, open_run_store
from tests.builders import TENANT, a_job, a_message, a_run, after, an_event

THREADS = 8


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """What each of the threads came to, all of them started together."""
    start = threading.Barrier(THREADS)

    def one(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def test_one_of_many_claims_wins(database_store: SqlRunStore) -> None:
    run = a_run()
    jobs = [a_job(run, step=f"s{number}", position=number) for number in range(5)]
    with database_store.begin(TENANT) as tx:
        tx.add_run(run, jobs)

    def claim_all(number: int) -> list[str]:
        won: list[str] = []
        for job in jobs:
            changes = {"fencing_token": 1, "lease_owner": f"worker-{number}"}
            try:
                with database_store.begin(TENANT) as tx:
                    tx.save_job(job, job.move_to(JobStatus.RUNNING, after(1), **changes))
                won.append(job.step)
            except StaleVersionError:
                continue
        return won

    won = sorted(step for steps in at_once(claim_all) for step in steps)
    assert won == [job.step for job in jobs]
    with database_store.begin(TENANT) as tx:
        assert len(tx.list_events(run.id)) == 1 + len(jobs)


def test_no_update_is_lost(database_store: SqlRunStore) -> None:
    run = a_run(status=RunStatus.RUNNING, metadata={"count": 0})
    with database_store.begin(TENANT) as tx:
        tx.add_run(run)

    def count_up(_: int) -> None:
        for _ in range(5):
            with database_store.begin(TENANT) as tx:
                held = tx.lock_run(run.id)
                count = held.metadata["count"] + 1
                tx.save_run(held, held.changed(after(1), metadata={"count": count}))

    at_once(count_up)
    with database_store.begin(TENANT) as tx:
        assert tx.get_run(run.id).metadata == {"count": 5 * THREADS}


def test_a_reader_who_follows_a_run_misses_no_event(database_store: SqlRunStore) -> None:
    run = a_run()
    with database_store.begin(TENANT) as tx:
        tx.add_run(run)
    seen: list[int] = []

    def follow() -> bool:
        with database_store.begin(TENANT, read_only=True) as tx:
            events = tx.list_events(run.id, after=seen[-1] if seen else 0)
        seen.extend(event.sequence for event in events)
        return any(event.kind == "end" for event in events)

    def write(number: int) -> None:
        if number == 0:
            while not follow():
                pass
            return
        for _ in range(5):
            with database_store.begin(TENANT) as tx:
                tx.add_event(an_event(run))
        done.release()
        if number == 1:
            for _ in range(THREADS - 1):
                done.acquire()
            with database_store.begin(TENANT) as tx:
                tx.add_event(an_event(run, kind="end"))

    done = threading.Semaphore(0)
    at_once(write)
    assert seen == list(range(1, 1 + 1 + 5 * (THREADS - 1) + 1))


def test_a_lock_is_taken_by_one(database_store: SqlRunStore) -> None:
    def take(number: int) -> bool:
        with database_store.begin(TENANT) as tx:
            return tx.try_lock("cache", f"holder-{number}", after(0), after(60))

    assert at_once(take).count(True) == 1


def test_an_expired_lock_is_taken_over_by_one(database_store: SqlRunStore) -> None:
    with database_store.begin(TENANT) as tx:
        tx.try_lock("cache", "gone", after(0), after(10))

    def take(number: int) -> bool:
        with database_store.begin(TENANT) as tx:
            return tx.try_lock("cache", f"holder-{number}", after(10), after(60))

    assert at_once(take).count(True) == 1


def test_a_message_added_by_many_is_one(database_store: SqlRunStore) -> None:
    def add(_: int) -> None:
        with database_store.begin(TENANT) as tx:
            tx.add_message(a_message(key="run-1"))

    at_once(add)
    assert len(database_store.due_messages(after(9))) == 1


def test_a_reader_does_not_wait_for_a_writer(database_store: SqlRunStore) -> None:
    run = a_run()
    with database_store.begin(TENANT) as writer:
        writer.add_run(run)
        with database_store.begin(TENANT, read_only=True) as reader:
            assert reader.list_runs(RunFilter()).items == ()
        assert database_store.dispatchable_runs() == ()


def test_a_thread_that_would_wait_for_itself_is_told(sqlite_url: str) -> None:
    with closing(open_run_store(sqlite_url)) as file_store, closing(InMemoryRunStore()) as memory:
        for store in (file_store, memory):
            with store.begin(TENANT), pytest.raises(PermanentError), store.begin(TENANT):
                pass
            with store.begin(TENANT) as tx:
                tx.add_run(a_run())


def test_processes_that_open_a_new_store_at_once_all_succeed(
    tmp_path: Path, empty_postgres_url: str
) -> None:
    program = (
        "import sys; from factory_runtime.run_store import open_run_store;"
        "store = open_run_store(sys.argv[1]); sys.stdin.read();"
        "print(store.dispatchable_runs())"
    )
    for url in (f"sqlite:///{tmp_path / 'new' / 'factory.db'}", empty_postgres_url):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", program, url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        for child in children:
            out, err = child.communicate()
            assert (child.returncode, out.strip()) == (0, "()"), err


def test_processes_write_to_one_file_without_getting_in_each_others_way(sqlite_url: str) -> None:
    program = (
        "import sys; from factory_runtime.run_store import open_run_store;"
        "from tests.builders import a_run\n"
        "store = open_run_store(sys.argv[1])\n"
        "for _ in range(20):\n"
        "    with store.begin('acme') as tx: tx.add_run(a_run())\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, sqlite_url], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for child in children:
        _, err = child.communicate()
        assert child.returncode == 0, err.decode()
    with closing(open_run_store(sqlite_url)) as store, store.begin(TENANT) as tx:
        assert len(tx.list_runs(RunFilter(), limit=100).items) == 60
