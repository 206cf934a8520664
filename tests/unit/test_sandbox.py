"""A template is proved in a folder of its own, wherever the factory's own things lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployments.prove import sandbox as proving
from deployments.prove.sandbox import Sandbox
from factory_runtime.settings import Settings

FOLDERS = sorted(
    name
    for name, kind in vars(Settings).items()
    if isinstance(kind, property) and name.endswith(("_folder", "_file"))
)


@pytest.fixture
def production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a machine that others share a store, a folder and a pool with."""
    told = {
        "HOME": str(tmp_path / "home"),
        "DATABASE_URL": "postgresql+psycopg://nobody/factory",
        "SHARED_FOLDER": str(tmp_path / "shared"),
        "MEMORY_URL": "az://factory/memory",
        "ARTIFACT_STORAGE": "az://factory",
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "WORK_POOL": "factory",
        "GIT_HOST": "block:acme",
        "JOB_ROUTES": '{"documentation": "docs-pool/docs"}',
    }
    for name, value in told.items():
        monkeypatch.setenv(f"FACTORY_{name}", value)
    return Settings()


def test_whatever_a_sandbox_writes_lies_below_its_own_folder(production: Settings) -> None:
    with Sandbox(production) as sandbox:
        own = sandbox.settings
        assert {"git_folder", "artifacts_folder", "memory_folder"} <= set(FOLDERS)
        for name in FOLDERS:
            assert getattr(own, name).is_relative_to(sandbox.folder), name
        assert own.shared == own.root == sandbox.folder
        assert own.memory_url is None
        assert own.git_host == "local"
        assert own.artifact_storage == "local"
        assert str(sandbox.folder) in own.run_store_url


def test_what_is_started_in_a_sandbox_reads_nothing_that_others_share(
    production: Settings,
) -> None:
    shared = (
        *("database_url", "shared_folder", "memory_url", "prefect_api_url"),
        *("work_pool", "job_routes"),
    )
    with proving._environment():  # pyright: ignore[reportPrivateUsage] - what children are given
        inside = Settings()
        assert not any(getattr(inside, name) for name in shared)
        assert inside.git_host == "local"
        assert inside.artifact_storage == "local"
    assert Settings() == production
    assert "FACTORY_SHARED_FOLDER" in os.environ
