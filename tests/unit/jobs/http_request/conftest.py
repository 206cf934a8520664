"""A factory that may send requests to one server, and what serves orders there."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from factory_runtime.run_store import SqlRunStore
from tests.data_server import DataServer, data_server
from tests.order_service import OrderService
from tests.requesting import may_send_to
from tests.small_factory import SmallFactory


@pytest.fixture
def server() -> Generator[DataServer]:
    with data_server() as running:
        yield running


@pytest.fixture
def service(server: DataServer) -> OrderService:
    return OrderService(server)


@pytest.fixture
def factory(tmp_path: Path, sqlite_store: SqlRunStore, server: DataServer) -> SmallFactory:
    small = SmallFactory(tmp_path / "templates", sqlite_store)
    may_send_to(small, server.host)
    return small
