"""The servers that peers keep their state in: each is started for the first that wants it."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import cached_property

from tests.services import PostgresServer, running_postgres


class Services:
    """Servers that live on while a peer is killed; ``stack`` ends them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    @cached_property
    def postgres(self) -> PostgresServer:
        """A PostgreSQL server."""
        return self._stack.enter_context(running_postgres())

    @cached_property
    def prefect_url(self) -> str:
        """The API of a Prefect server, on a SQLite file of its own."""
        return self._stack.enter_context(_running_prefect())


@contextmanager
def _running_prefect() -> Generator[str]:
    from benchmarks.local_server import local_server

    before = dict(os.environ)
    with local_server():
        url = os.environ["PREFECT_API_URL"]
        os.environ.clear()  # what it set is for its server, not for the peers
        os.environ.update(before)
        yield url
