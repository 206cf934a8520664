"""Databases that are damaged, full, locked, gone or not ours: each is named, with the fix."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, make_url, text

from factory_runtime.domain.errors import (
    CorruptStoreError,
    FactoryError,
    InputError,
    NotFoundError,
    PermanentError,
    SettingsError,
    StorageFullError,
    StoreUnavailableError,
)
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import open_run_store
from factory_runtime.run_store.translate import translated
from tests.builders import TENANT, a_job, a_run, after, an_attempt
from tests.services import PostgresServer


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://root:secret@host/db", "sqlite://", "sqlite:///:memory:"]
)
def test_a_url_that_names_no_run_store_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        open_run_store(url)
    assert "secret" not in str(refusal.value)
    assert "sqlite:///PATH" in str(refusal.value.hint)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "factory.db"
    file.write_bytes(b"not a database at all, but long enough to look at" * 100)
    with pytest.raises(CorruptStoreError, match=r"factory\.db is damaged"):
        open_run_store(f"sqlite:///{file}")


def test_a_damaged_file_is_named(tmp_path: Path, sqlite_url: str) -> None:
    file = tmp_path / "factory.db"
    body = bytearray(file.read_bytes())
    body[4096:] = b"\xff" * (len(body) - 4096)
    file.write_bytes(body)
    with pytest.raises(CorruptStoreError, match=r"factory\.db is damaged"):  # noqa: PT012
        store = open_run_store(sqlite_url)
        with store.begin(TENANT) as tx:
            tx.list_runs(RunFilter())


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "Dancing"), ("inputs", "{half"), ("requested_at", "noon"), ("priority", 9)],
)
def test_a_damaged_value_is_a_damaged_store(
    sqlite_url: str, tmp_path: Path, column: str, value: object
) -> None:
    with closing(open_run_store(sqlite_url)) as store:
        with store.begin(TENANT) as tx:
            tx.add_run(a_run())
        with closing(sqlite3.connect(tmp_path / "factory.db")) as raw:
            raw.execute(f"UPDATE runs SET {column} = ?", (value,))  # noqa: S608
            raw.commit()
        with pytest.raises(CorruptStoreError), store.begin(TENANT) as tx:
            tx.list_runs(RunFilter())


def execute(url: str, statement: str) -> None:
    """Say something to the database behind the store's back."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path, empty_postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'other.db'}", empty_postgres_url):
        execute(url, "CREATE TABLE invoices (id INTEGER)")
        with pytest.raises(CorruptStoreError, match="invoices"):
            open_run_store(url)
        execute(url, "INSERT INTO invoices VALUES (1)")


def test_a_database_newer_than_the_code_is_left_alone(
    sqlite_url: str, own_postgres_url: str
) -> None:
    for url in (sqlite_url, own_postgres_url):
        execute(url, "UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(CorruptStoreError, match="9999") as refusal:
            open_run_store(url)
        assert "upgrade" in str(refusal.value.hint)


def test_a_database_that_lost_a_table_is_no_store_of_ours(
    sqlite_url: str, own_postgres_url: str
) -> None:
    for url in (sqlite_url, own_postgres_url):
        with closing(open_run_store(url)) as store:
            execute(url, "DROP TABLE locks")
            with pytest.raises(CorruptStoreError), store.begin(TENANT) as tx:
                tx.find_lock_holder("cache", after(0))


def test_a_full_disk_is_named_and_leaves_nothing_half_written(sqlite_url: str) -> None:
    with closing(open_run_store(sqlite_url)) as store:
        full = a_run(metadata={"blob": "x" * 200_000})
        with store.begin(TENANT) as tx:
            tx.add_run(a_run(id="run-kept"))

        def limit(connection: sqlite3.Connection, _: object) -> None:
            connection.execute("PRAGMA max_page_count = 100")

        store.engine.dispose()
        event.listen(store.engine, "connect", limit)
        with pytest.raises(StorageFullError, match=r"factory\.db"), store.begin(TENANT) as tx:
            tx.add_run(full)
        with store.begin(TENANT) as tx:
            assert [run.id for run in tx.list_runs(RunFilter()).items] == ["run-kept"]


def test_a_file_size_limit_stops_a_write_and_leaves_the_store_whole(sqlite_url: str) -> None:
    # The limit belongs to a process: a child of its own runs into it.
    program = (
        "import resource, sys\n"
        "from factory_runtime.domain.errors import TransientError\n"
        "from factory_runtime.run_store import open_run_store\n"
        "from tests.builders import a_run\n"
        "store = open_run_store(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n"
        "    with store.begin('acme') as tx: tx.add_run(a_run(error='x' * 900_000))\n"
        "except TransientError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, sqlite_url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "factory.db" in done.stdout
    with closing(open_run_store(sqlite_url)) as store, store.begin(TENANT) as tx:
        assert tx.list_runs(RunFilter()).items == ()
        tx.add_run(a_run())


def test_a_read_only_database_is_named(
    sqlite_url: str, own_postgres_url: str, postgres_server: PostgresServer
) -> None:
    name = make_url(own_postgres_url).database
    execute(
        postgres_server.url(),
        f'ALTER DATABASE "{name}" SET default_transaction_read_only = on',
    )
    read_only_file = sqlite_url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    for url, place in ((read_only_file, "factory.db"), (own_postgres_url, str(name))):
        with closing(open_run_store(url)) as store:
            with store.begin(TENANT, read_only=True) as tx:
                assert tx.list_runs(RunFilter()).items == ()
            with pytest.raises(StorageFullError, match=place), store.begin(TENANT) as tx:
                tx.add_run(a_run())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    with pytest.raises(StorageFullError, match="home") as refusal:
        open_run_store(f"sqlite:///{tmp_path / 'home' / 'factory.db'}")
    assert "FACTORY_HOME" in str(refusal.value.hint)


def test_a_database_that_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=str(tmp_path)):
        open_run_store(f"sqlite:///{tmp_path}")


def test_a_database_locked_for_too_long_is_unavailable(
    sqlite_url: str, tmp_path: Path, own_postgres_url: str
) -> None:
    run = a_run(id="run-1")

    def impatient(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA busy_timeout = 10")
        else:
            connection.execute("SET lock_timeout = 10")
            connection.commit()

    for url in (sqlite_url, own_postgres_url):
        with closing(open_run_store(url)) as store, closing(open_run_store(url)) as other:
            event.listen(other.engine, "connect", impatient)
            other.engine.dispose()
            with store.begin(TENANT) as tx:
                tx.add_run(run)
            with store.begin(TENANT) as tx:
                tx.lock_run(run.id)
                with pytest.raises(StoreUnavailableError), other.begin(TENANT) as late:
                    late.lock_run(run.id)
            with other.begin(TENANT) as tx:
                assert tx.lock_run(run.id) == run


def test_a_deadlock_is_a_reason_to_try_again(own_postgres_url: str) -> None:
    runs = [a_run(id="run-1"), a_run(id="run-2")]
    both_hold = threading.Barrier(2)
    with closing(open_run_store(own_postgres_url)) as store:
        with store.begin(TENANT) as tx:
            for run in runs:
                tx.add_run(run)

        def cross(order: list[str]) -> str:
            try:
                with store.begin(TENANT) as tx:
                    tx.lock_run(order[0])
                    both_hold.wait()
                    tx.lock_run(order[1])
            except StoreUnavailableError as error:
                return error.code
            return "done"

        with ThreadPoolExecutor(2) as pool:
            ends = sorted(pool.map(cross, [["run-1", "run-2"], ["run-2", "run-1"]]))
    assert ends == ["done", "store-unavailable"]


@pytest.mark.parametrize(
    ("states", "meaning"),
    [
        # connections that end, servers that stop or start, are full, busy, or behind a pooler
        (("57P01", "57P02", "57P03", "25P03", "08000", "08006", "08P01"), StoreUnavailableError),
        (("53300", "53200", "58030", "57014", "XX000", "42501"), StoreUnavailableError),
        (("40001", "40P01", "55P03"), StoreUnavailableError),
        (("53100", "25006"), StorageFullError),
        (("XX001", "XX002", "42P01", "42703"), CorruptStoreError),
        (("22003", "22P05"), InputError),
    ],
)
def test_what_postgresql_says_is_sorted_by_what_to_do_next(
    postgres_server: PostgresServer, states: tuple[str, ...], meaning: type[FactoryError]
) -> None:
    engine = create_engine(postgres_server.url())
    for state in states:
        with pytest.raises(meaning), translated("here"), engine.connect() as connection:
            connection.exec_driver_sql(
                f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"
            )
    engine.dispose()


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://ada:hunter2@/factory?host={tmp_path}&port=5999"
    with pytest.raises(StoreUnavailableError, match="factory") as refusal:
        open_run_store(url)
    assert "hunter2" not in str(refusal.value)


def test_a_server_that_goes_away_in_a_transaction_is_unavailable_and_may_come_back(
    own_postgres_url: str, postgres_server: PostgresServer
) -> None:
    run = a_run()
    name = make_url(own_postgres_url).database
    with closing(open_run_store(own_postgres_url)) as store:
        with pytest.raises(StoreUnavailableError), store.begin(TENANT) as tx:  # noqa: PT012
            tx.add_run(run)
            execute(
                postgres_server.url(),
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608
            )
            tx.get_run(run.id)
        with store.begin(TENANT) as tx:
            assert tx.list_runs(RunFilter()).items == ()
            tx.add_run(run)
        postgres_server.drop(str(name))
        with pytest.raises(StoreUnavailableError), store.begin(TENANT) as tx:
            tx.get_run(run.id)


_WRITE_UNTIL_REFUSED = """
import resource, sys
from factory_runtime.domain.errors import TransientError
from factory_runtime.run_store import open_run_store
from tests.builders import TENANT, a_run

def add():
    run = a_run(metadata={"blob": "x" * 20_000})
    with store.begin(TENANT) as tx:
        tx.add_run(run)
    print(run.id)

store = open_run_store(sys.argv[1])
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, most))
for _ in range(2):
    try:
        while True:
            add()
    except TransientError:
        print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
add()
"""


def test_a_commit_that_cannot_be_written_leaves_nothing_and_the_next_one_succeeds(
    sqlite_url: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WRITE_UNTIL_REFUSED, sqlite_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert said.count("refused") == 2
    assert len(said) > 5
    with closing(open_run_store(sqlite_url)) as store, store.begin(TENANT) as tx:
        kept = {run.id for run in tx.list_runs(RunFilter(), limit=1000).items}
    assert kept == set(said) - {"refused"}


def test_a_refusal_that_was_caught_is_no_silent_rollback(own_postgres_url: str) -> None:
    run = a_run()
    with closing(open_run_store(own_postgres_url)) as store:
        with pytest.raises(PermanentError, match="given it up"), store.begin(TENANT) as tx:  # noqa: PT012
            tx.add_run(run)
            with pytest.raises(NotFoundError):
                tx.add_attempt(an_attempt(a_job(run)))
        with store.begin(TENANT) as tx:
            assert tx.list_runs(RunFilter()).items == ()
