"""A Prefect server and a runtime of their own for one benchmark, in a folder that is thrown away."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deployments.executor import PrefectServer, set_prefect
from factory_runtime.settings import Settings
from tests.services import PostgresServer

_DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"


@contextmanager
def local_server(postgres: PostgresServer | None = None) -> Generator[Settings]:
    """Settings of a fresh home whose Prefect server answers. Import Prefect only inside.

    Its database is SQLite, or a new one of ``postgres``, which needs the contrib modules.
    """
    with tempfile.TemporaryDirectory(prefix="factory-bench-") as folder, ExitStack() as stack:
        settings = Settings(home=Path(folder))
        if postgres is not None:
            url = stack.enter_context(postgres.database(migrated=False))
            stack.enter_context(_variable(_DATABASE, url.replace("+psycopg", "+asyncpg")))
        settings.stack_folder.mkdir(parents=True)
        server = PrefectServer(settings)
        set_prefect(settings, server.api_url)
        server.start()
        try:
            asyncio.run(server.wait_until_ready())
            yield settings
        finally:
            server.stop()


@contextmanager
def _variable(name: str, value: str) -> Generator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
