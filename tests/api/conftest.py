"""What the tests of the API share."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from factory_runtime.ports import RunStore
from factory_runtime.run_store import open_run_store
from tests.api.site import ApiSite


@pytest.fixture
def site(tmp_path: Path, database_url: str, database_store: RunStore) -> ApiSite:
    """On SQLite and on PostgreSQL."""
    return ApiSite(tmp_path, database_url, database_store)


@pytest.fixture
def small_site(tmp_path: Path, sqlite_url: str, sqlite_store: RunStore) -> ApiSite:
    """On SQLite alone: for what the database has no part in."""
    return ApiSite(tmp_path, sqlite_url, sqlite_store)


@pytest.fixture(scope="module")
def shared_site(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite_file: Path
) -> Generator[ApiSite]:
    """On SQLite, for all tests of a module, which may ask as often as they like."""
    folder, often = tmp_path_factory.mktemp("shared"), "1000000/second"
    file = folder / "factory.db"
    shutil.copyfile(migrated_sqlite_file, file)
    url = f"sqlite:///{file}"
    with closing(open_run_store(url)) as store:
        yield ApiSite(folder, url, store, api_rate=often, api_tenant_rate=often)
