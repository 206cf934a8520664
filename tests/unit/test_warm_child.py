"""A warm process: what ends it before its first run, and what it waits for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from deployments import warm_child
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import StoreUnavailableError


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("FACTORY_JOB_ROUTES", '{"no-such-type": "pool/queue"}', "no job type is called"),
        ("FACTORY_LEASE_SECONDS", "soon", "lease_seconds"),
        ("FACTORY_TEMPLATE_FOLDERS", "here", "template_folders"),
    ],
)
def test_a_setting_that_is_none_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
):
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    monkeypatch.setenv(name, value)

    def keep_to_itself(runtime: Runtime) -> None:
        del runtime

    monkeypatch.setattr(warm_child, "share_runtime", keep_to_itself)
    with pytest.raises(SystemExit, match=why):
        warm_child._open_what_runs_need()  # pyright: ignore[reportPrivateUsage] - the rest serves


def test_a_store_that_is_away_while_a_flow_is_loaded_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    @flow
    async def wanted() -> None: ...

    away = [StoreUnavailableError("restarts")] * 9  # more often than Prefect's server may fail

    async def flow_of(flow_run: FlowRun) -> object:
        del flow_run
        if away:
            raise away.pop()
        return wanted

    async def load() -> object:
        nobody = PrefectClient("http://127.0.0.1:9/api")
        flow_run = FlowRun(id=uuid4(), flow_id=uuid4())
        return await warm_child._load_patiently(nobody, flow_run)  # pyright: ignore[reportPrivateUsage] - the rest serves

    monkeypatch.setattr(warm_child, "_flow_of", flow_of)
    monkeypatch.setattr(warm_child, "_ASK_AGAIN_SECONDS", 0)
    assert asyncio.run(load()) is wanted
    assert "waits for the store" in caplog.text
