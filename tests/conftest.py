"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import io
import os
import shutil
import signal
import ssl
from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

import pytest
from hypothesis import settings
from psycopg import Connection, sql
from sqlalchemy import Engine, create_engine, make_url

from factory_runtime.domain.folder_stamp import Unchanged
from factory_runtime.domain.tree import TreeReference, pack_folder
from factory_runtime.run_store import InMemoryRunStore, SqlRunStore, engines, open_run_store
from factory_runtime.run_store.tables import metadata
from factory_runtime.services import kept_templates, source_shelf
from factory_runtime.services.catalog import BUILT_IN
from tests.azurite import PROGRAM, Azurite, running_azurite
from tests.scheduling import Scheduling, in_order, leave_twins_to_soak
from tests.services import PostgresServer, running_postgres

if TYPE_CHECKING:
    from tests.forge import Forge

# How long an example takes says more of the machine than of us.
settings.register_profile("factory", deadline=None)
settings.load_profile("factory")

_services = pytest.StashKey[ExitStack]()
_postgres = pytest.StashKey[PostgresServer]()
_azurite = pytest.StashKey[Azurite]()


def _started_postgres(config: pytest.Config) -> PostgresServer:
    """This process's server; one for the whole test run."""
    if _postgres not in config.stash:
        services = config.stash.setdefault(_services, ExitStack())
        config.stash[_postgres] = services.enter_context(running_postgres())
    return config.stash[_postgres]


def _started_azurite(config: pytest.Config) -> Azurite:
    """This process's own, which may still be starting; one for the whole test run."""
    if _azurite not in config.stash:
        services = config.stash.setdefault(_services, ExitStack())
        config.stash[_azurite] = services.enter_context(running_azurite())
    return config.stash[_azurite]


class _Statements(dict[tuple[object, ...], object]):
    """Compiled statements, by the kind of database instead of by the engine."""

    def get(self, key: tuple[object, ...], default: object = None) -> object:
        return super().get((type(key[0]), *key[1:]), default)

    def __setitem__(self, key: tuple[object, ...], compiled: object) -> None:
        super().__setitem__((type(key[0]), *key[1:]), compiled)


def _compile_statements_once() -> None:
    """Most tests open an engine of their own, and would compile every statement anew."""
    statements = _Statements()

    def create(*args: Any, **kwargs: Any) -> Engine:
        engine = create_engine(*args, **kwargs)
        engine.update_execution_options(compiled_cache=statements)
        return engine

    engines.create_engine = create


_compile_statements_once()


def _read_certificates_once() -> None:
    """Each client of HTTP reads all that are trusted, which takes longer than most tests."""
    create = ssl.create_default_context

    @cache
    def read(cafile: str, changed_at: int) -> ssl.SSLContext:
        del changed_at
        return create(cafile=cafile)

    def create_once(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        cafile = kwargs.get("cafile")
        if args or len(kwargs) != 1 or cafile is None:
            return create(*args, **kwargs)
        return read(str(cafile), Path(cafile).stat().st_mtime_ns)

    ssl.create_default_context = create_once


_read_certificates_once()


def _pack_what_is_shipped_once() -> None:
    """Each factory of a test has it in a storage of its own, and would pack it anew.

    As long as it stays as it is: a test that writes to it has it packed again.
    """
    shipped = BUILT_IN.resolve()
    kept = Unchanged[tuple[TreeReference, bytes]]()

    def pack_once(
        folder: Path, out: BinaryIO, *, ignore: Iterable[str] = (".git",)
    ) -> TreeReference:
        def pack() -> tuple[TreeReference, bytes]:
            body = io.BytesIO()
            return pack_folder(folder, body, ignore=ignored), body.getvalue()

        ignored = tuple(ignore)
        if not folder.resolve().is_relative_to(shipped):
            return pack_folder(folder, out, ignore=ignored)
        reference, packed = kept.get((folder, ignored), pack, lambda _: [folder])
        out.write(packed)
        return reference

    source_shelf.pack_folder = pack_once
    kept_templates.pack_folder = pack_once


_pack_what_is_shipped_once()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Under xdist the controller keeps the servers and tells the workers where they are."""
    node.workerinput["postgres"] = str(_started_postgres(node.config).folder)
    # Where it is not installed, the tests that need it fail, and no others.
    if PROGRAM.exists():
        node.workerinput["azurite"] = str(_started_azurite(node.config).folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    leave_twins_to_soak(items)
    in_order(items)


# Each server would write down all block types of Prefect's in its new database; ours are registered
# where they are needed.
os.environ.setdefault("PREFECT_SERVER_REGISTER_BLOCKS_ON_START", "false")

# What factories of the tests remember is embedded by the lighter model, unless a test says
# otherwise: the one that is shipped takes seconds for the code of each run.
os.environ.setdefault("FACTORY_EMBEDDER", "light")

# A shell starts what is to run beside it with Ctrl-C ignored; the children of tests are not to be.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is imported and collected is never garbage: looking it over takes longer than many a test.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _services in config.stash:
        config.stash[_services].close()


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> PostgresServer:
    """A real PostgreSQL, started with the first test that asks for it."""
    workerinput: dict[str, Any] | None = getattr(pytestconfig, "workerinput", None)
    if workerinput is not None:
        return PostgresServer(Path(workerinput["postgres"]))
    return _started_postgres(pytestconfig)


@pytest.fixture(scope="session")
def azurite(pytestconfig: pytest.Config) -> Azurite:
    """A real server of Azure's blob storage, emulated; each test takes a container of its own."""
    workerinput: dict[str, Any] = getattr(pytestconfig, "workerinput", {})
    if folder := workerinput.get("azurite"):
        return Azurite(Path(folder))
    return _started_azurite(pytestconfig)


@pytest.fixture
def forge(tmp_path: Path) -> Generator[Forge]:
    """An Azure DevOps, emulated, of the test's own."""
    # Imported here: few tests ask for it, and it takes half as long as all above.
    from tests.forge import running_forge

    with running_forge(tmp_path / "forge") as running:
        yield running


@pytest.fixture
def azure_address() -> str:
    """A prefix in a container that is not there yet."""
    return f"{uuid4()}/of/ours"


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: PostgresServer) -> Generator[str]:
    """One clone for this process's tests: making one takes longer than most tests."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_sweeper(
    postgres_server: PostgresServer, shared_postgres_url: str
) -> Generator[Connection]:
    """One session that sweeps the clone between tests: a new one takes ten times as long."""
    with postgres_server.connect(str(make_url(shared_postgres_url).database)) as connection:
        # Without a look at the foreign keys for each row: all of them go.
        connection.execute("SET session_replication_role = replica")
        yield connection


@pytest.fixture
def postgres_url(shared_postgres_url: str, _postgres_sweeper: Connection) -> str:
    """A database with our tables, and no rows in them."""
    deletes = [
        sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name))
        for table in metadata.sorted_tables
    ]
    _postgres_sweeper.execute(sql.SQL("; ").join(deletes))
    return shared_postgres_url


@pytest.fixture(scope="session")
def _shared_postgres_store(shared_postgres_url: str) -> Generator[SqlRunStore]:
    """One store for this process's tests: to open one takes longer than most tests."""
    with closing(open_run_store(shared_postgres_url)) as store:
        yield store


@pytest.fixture
def postgres_store(postgres_url: str, _shared_postgres_store: SqlRunStore) -> SqlRunStore:
    """A store on PostgreSQL, with nothing in it."""
    del postgres_url
    return _shared_postgres_store


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Generator[SqlRunStore]:
    """A store on SQLite, with nothing in it."""
    with closing(open_run_store(sqlite_url)) as store:
        yield store


@pytest.fixture
def memory_store() -> Generator[SqlRunStore]:
    """A store in memory, with nothing in it."""
    with closing(InMemoryRunStore()) as store:
        yield store


@pytest.fixture
def own_postgres_url(postgres_server: PostgresServer) -> Generator[str]:
    """A database with our tables that the test may harm."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Generator[str]:
    """A fresh database with nothing in it."""
    with postgres_server.database(migrated=False) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with our tables, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "factory.db"
    open_run_store(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_sqlite_file: Path) -> str:
    """A fresh SQLite database with our tables."""
    file = tmp_path / "factory.db"
    shutil.copyfile(migrated_sqlite_file, file)
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each of the real databases, ready to be opened."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database_store(request: pytest.FixtureRequest, database_url: str) -> SqlRunStore:
    """Each of the real run stores."""
    kind = "sqlite" if database_url.startswith("sqlite") else "postgres"
    store: SqlRunStore = request.getfixturevalue(f"{kind}_store")
    return store


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def run_store(request: pytest.FixtureRequest) -> SqlRunStore:
    """Every implementation of the run store."""
    store: SqlRunStore = request.getfixturevalue(f"{request.param}_store")
    return store
