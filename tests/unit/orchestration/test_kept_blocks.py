"""Which block is asked for, and whether one is asked for at all."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from factory_runtime.domain.errors import HostBusyError
from factory_runtime.orchestration import prefect_api
from factory_runtime.orchestration.kept_blocks import read_block, without_server


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The names of blocks that a server was asked for."""
    names: list[object] = []

    def ask(*_: object, **told: object) -> Any:
        names.append(told["block_document_name"])
        return {}

    monkeypatch.setattr(prefect_api, "ask", ask)
    return names


@pytest.fixture(autouse=True)
def somewhere() -> Any:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield


def test_a_name_leads_to_no_block_of_another_kind(asked: list[object]) -> None:
    read_block("factory-git-host", "../../factory-model-endpoint/block_documents/name/llm?x=1")
    assert asked == ["..%2F..%2Ffactory-model-endpoint%2Fblock_documents%2Fname%2Fllm%3Fx%3D1"]


def test_without_a_server_of_ours_none_is_asked(asked: list[object]) -> None:
    with without_server(), pytest.raises(HostBusyError, match="no Prefect server is up"):
        read_block("factory-git-host", "ops")
    assert asked == []
    read_block("factory-git-host", "ops")
    assert asked == ["ops"]
