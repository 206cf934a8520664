"""What the tests of the API share."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.ports import RunStore
from tests.api.site import ApiSite


@pytest.fixture
def site(tmp_path: Path, database_url: str, database_store: RunStore) -> ApiSite:
    """On SQLite and on PostgreSQL."""
    return ApiSite(tmp_path, database_url, database_store)


@pytest.fixture
def small_site(tmp_path: Path, sqlite_url: str, sqlite_store: RunStore) -> ApiSite:
    """On SQLite alone: for what the database has no part in."""
    return ApiSite(tmp_path, sqlite_url, sqlite_store)
