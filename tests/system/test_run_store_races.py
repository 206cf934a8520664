"""Threads and processes contending for the rows of a real database."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import (
    DuplicateAttemptError,
    PermanentError,
    StaleVersionError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import InMemoryRunStore, SqlRunStore, open_run_store
from tests.builders import (
    TENANT,
    a_breaker,
    a_checkpoint,
    a_claimed_job,
    a_job,
    a_message,
    a_run,
    after,
    an_attempt,
    an_event,
)
from tests.system.store_processes import admit_one

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
        assert database_store.waiting_runs(after(9)) == ()


def test_a_thread_that_would_wait_for_itself_is_told(sqlite_url: str) -> None:
    with closing(open_run_store(sqlite_url)) as file_store, closing(InMemoryRunStore()) as memory:
        for store in (file_store, memory):
            with store.begin(TENANT), pytest.raises(PermanentError), store.begin(TENANT):
                pass
            with store.begin(TENANT) as tx:
                tx.add_run(a_run())


@pytest.fixture(scope="module")
def at_store() -> Generator[Callable[[str, str], list[Any]]]:
    """Has three processes do a work of ``store_processes`` at once; what each said."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.system.store_processes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nursery:

        def do(work: str, url: str) -> list[Any]:
            assert nursery.stdin is not None
            assert nursery.stdout is not None
            nursery.stdin.write(json.dumps({"work": work, "url": url, "count": 3}) + "\n")
            nursery.stdin.flush()
            answer = json.loads(nursery.stdout.readline())
            assert answer["codes"] == [0] * 3
            return answer["said"]

        yield do


def test_processes_that_open_a_new_store_at_once_all_succeed(
    at_store: Callable[[str, str], list[Any]], tmp_path: Path, empty_postgres_url: str
) -> None:
    for url in (f"sqlite:///{tmp_path / 'new' / 'factory.db'}", empty_postgres_url):
        assert at_store("open", url) == [[]] * 3


def test_processes_write_to_one_file_without_getting_in_each_others_way(
    at_store: Callable[[str, str], list[Any]], sqlite_url: str
) -> None:
    at_store("add-runs", sqlite_url)
    with closing(open_run_store(sqlite_url)) as store, store.begin(TENANT) as tx:
        assert len(tx.list_runs(RunFilter(), limit=100).items) == 60


# --- dispatchers


def test_many_dispatchers_never_go_over_the_cap_nor_admit_a_run_twice(
    database_store: SqlRunStore,
) -> None:
    cap = 11
    for tenant in (TENANT, "umbrella"):
        with database_store.begin(tenant) as tx:
            for _ in range(10):
                tx.add_run(a_run(tenant_id=tenant, status=RunStatus.VALIDATED))

    def dispatch(_: int) -> list[str]:
        admitted: list[str] = []
        while run_id := admit_one(database_store, cap):
            admitted.append(run_id)
        return admitted

    admitted = [run_id for runs in at_once(dispatch) for run_id in runs]
    assert len(admitted) == len(set(admitted)) == cap
    assert {key.run_id for key in database_store.running_runs()} == set(admitted)


def test_dispatchers_in_many_processes_never_go_over_the_cap(
    at_store: Callable[[str, str], list[Any]], database_url: str
) -> None:
    with closing(open_run_store(database_url)) as store, store.begin(TENANT) as tx:
        for _ in range(20):
            tx.add_run(a_run(status=RunStatus.VALIDATED))
    admitted = [run_id for runs in at_store("dispatch", database_url) for run_id in runs]
    assert len(admitted) == len(set(admitted)) == 7


def test_a_dispatcher_waits_for_one_that_has_not_committed(own_postgres_url: str) -> None:
    with closing(open_run_store(own_postgres_url)) as store, ThreadPoolExecutor(1) as pool:
        with store.begin(TENANT) as tx:
            for _ in range(2):
                tx.add_run(a_run(status=RunStatus.VALIDATED))
        with store.begin_dispatch() as first:
            assert len(first.holders()) == 0
            second = pool.submit(admit_one, store, 1)
            wait_for_a_waiter(store)
            for key in first.waiting_runs(after(9), limit=1):
                tx = first.of_tenant(key.tenant_id)
                run = tx.lock_run(key.run_id)
                tx.save_run(run, run.move_to(RunStatus.QUEUED, after(1), admitted_at=after(1)))
            assert not second.done()
        assert second.result() is None


def wait_for_a_waiter(store: SqlRunStore) -> None:
    """Until some session of the database waits for a lock of another."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with store.engine.connect() as connection:
        while not connection.exec_driver_sql(query).scalar():
            connection.rollback()


# --- heartbeats among the other writers


def test_no_writer_of_a_run_waits_for_another_in_a_circle(own_postgres_url: str) -> None:
    """Heartbeats, progress with its log, ends of jobs and cancels write the same rows at once."""
    run = a_run(status=RunStatus.RUNNING)
    jobs = [a_claimed_job(run, step=f"s{n}", position=n, lease_owner="me") for n in range(6)]

    def backwards(store: SqlRunStore) -> None:
        with store.begin(TENANT) as tx:
            for job in reversed(jobs):
                held = tx.get_job(run.id, job.step)
                tx.save_job(held, held.changed(after(1)))

    def forwards(store: SqlRunStore) -> None:
        with store.begin(TENANT) as tx:
            tx.lock_run(run.id)
            for job in tx.list_jobs(run.id):
                tx.save_job(job, job.changed(after(1)))

    def heartbeat(store: SqlRunStore) -> None:
        with store.begin(TENANT) as tx:
            assert tx.renew_leases(run.id, "me", after(90)) == len(jobs)

    def notes(store: SqlRunStore) -> None:
        with store.begin(TENANT) as tx:
            tx.note_progress(jobs[3], 0.5, "half")
            tx.add_event(an_event(run))
            tx.save_checkpoint(jobs[1], a_checkpoint(jobs[1]))

    writers: list[Callable[[SqlRunStore], None]] = [backwards, forwards, heartbeat, notes]
    with closing(open_run_store(own_postgres_url)) as store:
        with store.begin(TENANT) as tx:
            tx.add_run(run, jobs)

        def write(number: int) -> None:
            for _ in range(12):
                try:
                    writers[number % len(writers)](store)
                except StaleVersionError:
                    continue  # of those who change the version; what must not happen is a deadlock

        at_once(write)


def test_a_job_taken_back_while_its_heartbeat_waits_is_not_renewed(own_postgres_url: str) -> None:
    run = a_run(status=RunStatus.RUNNING)
    job = a_claimed_job(run, lease_owner="me")
    with closing(open_run_store(own_postgres_url)) as store, ThreadPoolExecutor(1) as pool:
        with store.begin(TENANT) as tx:
            tx.add_run(run, [job])
            tx.try_lock("run:1", "me", after(0), after(60))

        def heartbeat() -> tuple[int, bool]:
            with store.begin(TENANT) as tx:
                renewed = tx.renew_leases(run.id, "me", after(90))
                return renewed, tx.renew_lock("run:1", "me", after(90))

        with store.begin(TENANT) as tx:
            tx.lock_run(run.id)
            assert tx.try_lock("run:1", "another", after(60), after(120))
            tx.save_job(job, job.move_to(JobStatus.PENDING, after(60), lease_owner=None))
            beat = pool.submit(heartbeat)
            wait_for_a_waiter(store)
        assert beat.result() == (0, False)
        with store.begin(TENANT) as tx:
            assert tx.find_lock_holder("run:1", after(119)) == "another"


def test_an_attempt_delivered_to_many_is_begun_by_one(database_store: SqlRunStore) -> None:
    run = a_run()
    job = a_claimed_job(run)
    with database_store.begin(TENANT) as tx:
        tx.add_run(run, [job])

    def begin(number: int) -> bool:
        try:
            with database_store.begin(TENANT) as tx:
                tx.add_attempt(an_attempt(job, worker=f"worker-{number}"))
        except DuplicateAttemptError:
            return False
        return True

    assert at_once(begin).count(True) == 1


def test_no_failure_of_a_host_goes_uncounted(database_store: SqlRunStore) -> None:
    host = a_breaker().host
    with database_store.begin(TENANT) as tx:
        tx.save_breaker(a_breaker())

    def fail(_: int) -> None:
        for _ in range(3):
            with database_store.begin(TENANT) as tx:
                breaker = tx.lock_breaker(host)
                assert breaker is not None
                tx.save_breaker(replace(breaker, failures=breaker.failures + 1))

    at_once(fail)
    with database_store.begin(TENANT) as tx:
        assert tx.find_breaker(host) == a_breaker(failures=3 * THREADS)
