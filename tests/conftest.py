"""Fixtures that every test may use."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import Engine, create_engine, make_url

from factory_runtime.run_store import InMemoryRunStore, SqlRunStore, engines, open_run_store
from factory_runtime.run_store.tables import metadata
from tests.services import PostgresServer, running_postgres

_services = pytest.StashKey[ExitStack]()
_postgres = pytest.StashKey[PostgresServer]()


def _started_postgres(config: pytest.Config) -> PostgresServer:
    """This process's server; one for the whole test run."""
    if _postgres not in config.stash:
        config.stash[_services] = ExitStack()
        config.stash[_postgres] = config.stash[_services].enter_context(running_postgres())
    return config.stash[_postgres]


class _Statements(dict[tuple[Any, ...], Any]):
    """Compiled statements, by the kind of database instead of by the engine."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get((type(key[0]), *key[1:]), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
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


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Under xdist the controller keeps the server and tells the workers where it is."""
    node.workerinput["postgres"] = str(_started_postgres(node.config).folder)


_LONG_ONES_FIRST = ("recovery", "flows", "system", "property", "contract")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders of long tests: at the end, no worker then waits for another's."""

    def rank(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return _LONG_ONES_FIRST.index(folder) if folder in _LONG_ONES_FIRST else 99

    items.sort(key=rank)


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
def shared_postgres_url(postgres_server: PostgresServer) -> Generator[str]:
    """One clone for this process's tests: making one takes longer than most tests."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, shared_postgres_url: str) -> str:
    """A database with our tables, and no rows in them."""
    with postgres_server.connect(str(make_url(shared_postgres_url).database)) as connection:
        # Without a look at the foreign keys for each row: all of them go.
        connection.execute("SET session_replication_role = replica")
        for table in reversed(metadata.sorted_tables):
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
    return shared_postgres_url


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
def database_store(database_url: str) -> Generator[SqlRunStore]:
    """Each of the real run stores."""
    store = open_run_store(database_url)
    yield store
    store.close()


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def run_store(request: pytest.FixtureRequest) -> Generator[SqlRunStore]:
    """Every implementation of the run store."""
    if request.param == "memory":
        store: SqlRunStore = InMemoryRunStore()
    else:
        store = open_run_store(request.getfixturevalue(f"{request.param}_url"))
    yield store
    store.close()
