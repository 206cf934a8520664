"""Fixtures of the system tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.microservice import SERVICES, render_service


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each of the microservices, rendered once; tests only read them."""
    root = tmp_path_factory.mktemp("services")
    return {name: render_service(root / name, inputs) for name, inputs in SERVICES.items()}
