"""A PostgreSQL that goes away and comes back: nothing is lost, and nothing but "later" is said."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url

from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.errors import (
    IllegalTransitionError,
    StaleVersionError,
    StoreUnavailableError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunFilter, RunTransaction
from factory_runtime.run_store import SqlRunStore, open_run_store
from tests.builders import TENANT, a_claimed_job, a_run, after, an_attempt, an_event
from tests.services import OwnPostgres, running_postgres

pytestmark = pytest.mark.service

BOTH_WAYS = pytest.mark.parametrize("immediate", [False, True], ids=["in-order", "as-a-crash"])


@pytest.fixture(scope="module")
def server() -> Generator[OwnPostgres]:
    """A server of this module's own, that keeps what it has committed."""
    with running_postgres(durable=True) as server:
        yield server


@pytest.fixture
def url(server: OwnPostgres) -> Generator[str]:
    with server.database() as url:
        yield url


@pytest.fixture
def store(url: str) -> Generator[SqlRunStore]:
    with closing(open_run_store(url)) as store:
        yield store


def at_once(threads: int, work: Callable[[int], Any]) -> list[Any]:
    """What each of the threads came to, each with its transaction open beside the others'."""
    together = threading.Barrier(threads)

    def one(number: int) -> Any:
        together.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def runs_in(store: SqlRunStore) -> set[str]:
    with store.begin(TENANT, read_only=True) as tx:
        return {run.id for run in tx.list_runs(RunFilter(), limit=1000).items}


@BOTH_WAYS
def test_the_first_transaction_after_a_restart_succeeds(
    server: OwnPostgres, store: SqlRunStore, immediate: bool
) -> None:
    all_open = threading.Barrier(6)

    def add(_: int) -> str:
        run = a_run()
        with store.begin(TENANT) as tx:
            tx.add_run(run)
            all_open.wait()  # so that the pool holds as many connections
        return run.id

    before = set(at_once(6, add))
    server.restart(immediate=immediate)
    assert runs_in(store) == before
    behind = set(at_once(6, add))
    assert runs_in(store) == before | behind


@BOTH_WAYS
def test_a_transaction_cut_off_by_a_restart_leaves_nothing(
    server: OwnPostgres, store: SqlRunStore, immediate: bool
) -> None:
    run = a_run()
    with pytest.raises(StoreUnavailableError), store.begin(TENANT) as tx:  # noqa: PT012
        tx.add_run(run)
        server.restart(immediate=immediate)
        tx.add_event(an_event(run))
    assert runs_in(store) == set()


@BOTH_WAYS
def test_a_server_that_goes_away_before_the_commit_has_kept_nothing(
    server: OwnPostgres, store: SqlRunStore, immediate: bool
) -> None:
    with pytest.raises(StoreUnavailableError), store.begin(TENANT) as tx:  # noqa: PT012
        tx.add_run(a_run())
        server.restart(immediate=immediate)
    assert runs_in(store) == set()


def test_what_a_block_raises_is_not_hidden_by_a_server_that_is_gone(
    server: OwnPostgres, store: SqlRunStore
) -> None:
    for error in (KeyboardInterrupt, IllegalTransitionError("run", "Failed", "Running")):
        with pytest.raises((KeyboardInterrupt, IllegalTransitionError)), store.begin(TENANT) as tx:  # noqa: PT012
            tx.add_run(a_run())
            server.restart(immediate=True)
            raise error
        assert runs_in(store) == set()


def test_a_server_that_is_down_stopping_or_starting_is_unavailable_and_nothing_else(
    server: OwnPostgres, store: SqlRunStore
) -> None:
    over = threading.Event()

    def ask() -> int:
        refusals = 0
        while not over.is_set():
            try:
                with store.begin(TENANT) as tx:
                    tx.add_run(a_run())
                store.running_runs()
            except StoreUnavailableError:
                refusals += 1
        return refusals

    with ThreadPoolExecutor(1) as pool:
        refusals = pool.submit(ask)
        try:
            server.stop()
            with pytest.raises(StoreUnavailableError, match="does not answer"):
                store.begin_dispatch().__enter__()
            server.start()
            server.restart(immediate=True)
        finally:
            over.set()
        assert refusals.result() > 0
    assert runs_in(store)


def add(store: SqlRunStore, run: Run) -> None:
    """As who may have been told "unavailable" although it was committed."""
    try:
        with store.begin(TENANT) as tx:
            tx.add_run(run)
    except StaleVersionError:
        with store.begin(TENANT) as tx:
            assert tx.get_run(run.id) == run


def queue(store: SqlRunStore, run: Run) -> None:
    with store.begin(TENANT) as tx:
        tx.save_run(run, run.move_to(RunStatus.QUEUED, after(1), admitted_at=after(1)))


def steadily(write: Callable[[SqlRunStore, Run], None], store: SqlRunStore, run: Run) -> int:
    """How often it was refused before it was done."""
    refusals = 0
    while True:
        try:
            write(store, run)
        except StoreUnavailableError:
            refusals += 1
            continue
        return refusals


def test_writers_who_try_again_lose_and_double_nothing_over_restarts(
    server: OwnPostgres, store: SqlRunStore
) -> None:
    over = threading.Event()

    def work(_: int) -> tuple[set[str], int]:
        done, refusals = set[str](), 0
        while not over.is_set():
            run = a_run(status=RunStatus.VALIDATED)
            refusals += steadily(add, store, run) + steadily(queue, store, run)
            done.add(run.id)
        return done, refusals

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(work, number) for number in range(4)]
        try:
            for immediate in (False, True, False, True):
                server.restart(immediate=immediate)
        finally:
            over.set()
        ends = [writer.result() for writer in writers]
    done = set[str]().union(*(runs for runs, _ in ends))
    assert sum(refusals for _, refusals in ends) > 0, "no restart was felt"
    with store.begin(TENANT) as tx:
        for run_id in done:
            assert tx.get_run(run_id).status is RunStatus.QUEUED
            events = [(e.from_status, e.to_status) for e in tx.list_events(run_id)]
            assert events == [(None, "Validated"), ("Validated", "Queued")]
    assert {key.run_id for key in store.running_runs()} == done


# --- the answer to a commit is lost


class LossyDoor:
    """A socket in front of a server, on which answers to a COMMIT are lost while ``lossy``."""

    def __init__(self, folder: Path, server_folder: str) -> None:
        self.lossy = False
        self._server = f"{server_folder}/.s.PGSQL.5432"
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(folder / ".s.PGSQL.5432"))
        self._door.listen()
        self._committing: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        hang_up(self._door)
        for thread in self._threads:  # it grows no more once the first has ended
            thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            for work, ends in ((self._ask, (client, server)), (self._answer, (server, client))):
                self._threads.append(threading.Thread(target=pass_on, args=(work, *ends)))
                self._threads[-1].start()

    def _ask(self, message: bytes, client: socket.socket, server: socket.socket) -> None:
        if b"COMMIT" in message:
            self._committing.add(server)
        server.sendall(message)

    def _answer(self, message: bytes, server: socket.socket, client: socket.socket) -> None:
        if self.lossy and server in self._committing:
            raise BrokenPipeError("it has been committed, and nobody hears of it")
        client.sendall(message)


def pass_on(
    work: Callable[[bytes, socket.socket, socket.socket], None],
    source: socket.socket,
    sink: socket.socket,
) -> None:
    """Give every message to ``work`` until one end hangs up; then neither is there."""
    with suppress(OSError):
        while message := source.recv(65536):
            work(message, source, sink)
    hang_up(source)
    hang_up(sink)


def hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def test_a_commit_whose_answer_is_lost_is_unavailable_and_safe_to_repeat(
    url: str, store: SqlRunStore, tmp_path: Path
) -> None:
    run = a_run(status=RunStatus.RUNNING)
    job = a_claimed_job(run)
    attempt = an_attempt(job)
    closed = replace(attempt, completed_at=after(2), outcome=Outcome.SUCCEEDED)
    done = job.move_to(JobStatus.SUCCEEDED, after(2), lease_owner=None, lease_expires_at=None)
    with store.begin(TENANT) as tx:
        tx.add_run(run, [job])
    writes: list[Callable[[RunTransaction], None]] = [
        lambda tx: tx.add_attempt(attempt),
        lambda tx: tx.save_job(job, done),
        lambda tx: tx.save_attempt(closed),
    ]
    real = make_url(url)
    with closing(LossyDoor(tmp_path, str(real.query["host"]))) as door:
        lossy_url = real.update_query_dict({"host": str(tmp_path)}).render_as_string()
        with closing(open_run_store(lossy_url)) as lossy:
            for write in writes:
                door.lossy = True
                with pytest.raises(StoreUnavailableError), lossy.begin(TENANT) as tx:
                    write(tx)
                door.lossy = False
                with lossy.begin(TENANT) as tx:
                    write(tx)
    with store.begin(TENANT) as tx:
        assert tx.get_job(run.id, job.step) == done
        assert tx.list_attempts(run.id) == (closed,)
        assert [event.to_status for event in tx.list_events(run.id) if event.step] == [
            "Running",
            "Succeeded",
        ]


# --- a process that stops in a transaction


def test_who_stops_in_a_transaction_gives_its_locks_up(url: str, store: SqlRunStore) -> None:
    run = a_run(status=RunStatus.RUNNING)
    with store.begin(TENANT) as tx:
        tx.add_run(run)
    with store.engine.connect() as connection:
        wait = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
    assert wait == "30s"

    def hurry(_: Any, cursor: Any, statement: str, *__: object) -> None:
        if statement.startswith("UPDATE runs"):
            cursor.connection.execute("SET idle_in_transaction_session_timeout = 1")

    with closing(open_run_store(url)) as stopped:
        event.listen(stopped.engine, "after_cursor_execute", hurry)
        with pytest.raises(StoreUnavailableError), stopped.begin(TENANT) as tx:  # noqa: PT012
            tx.save_run(run, run.changed(after(1), error="held"))
            with store.begin(TENANT) as other:  # waits until the first is thrown out
                other.save_run(run, run.changed(after(2), error="taken over"))
            tx.get_run(run.id)
    with store.begin(TENANT) as tx:
        assert tx.get_run(run.id).error == "taken over"
