"""Flows that are loaded to execute what began in Prefect, while the store is away for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect import Flow
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed

import flows.templates
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.errors import PrefectUnavailableError, StoreUnavailableError
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.settings import Settings
from flows import hooks
from flows.loading import LoadedFor, loading_for
from tests.builders import TENANT, a_deployment
from tests.recipes import a_source, a_template

TEMPLATE = "acme.service"
DEPLOYMENT = "5f0c2a52-9d34-4f0a-8a5c-6f2f1b6c0001"


class AwayNowAndThen:
    """A store that does not answer so many questions."""

    def __init__(self) -> None:
        self.inner = InMemoryRunStore()
        self.away = 0

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **values: Any) -> Any:
            if self.away:
                self.away -= 1
                raise StoreUnavailableError("the database is restarting")
            return getattr(self.inner, name)(*args, **values)

        return ask


@pytest.fixture
def store() -> AwayNowAndThen:
    return AwayNowAndThen()


@pytest.fixture
def runtime(
    tmp_path: Path, store: AwayNowAndThen, monkeypatch: pytest.MonkeyPatch
) -> Generator[Runtime]:
    folder = tmp_path / "templates" / TEMPLATE
    for path, text in {"template.yaml": a_template(TEMPLATE), **a_source()}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(str(text))
    settings = Settings(home=tmp_path / "home", template_folders=(tmp_path / "templates",))
    runtime = open_runtime(settings)
    vars(runtime).update(store=store)
    with store.inner.begin(TENANT) as tx:
        tx.save_deployment(a_deployment(template_id=TEMPLATE, prefect_id=DEPLOYMENT))
    monkeypatch.setattr(hooks, "_runtime", runtime)
    yield runtime
    store.inner.close()


def a_flow_run(**parameters: Any) -> FlowRun:
    return FlowRun(flow_id=uuid4(), deployment_id=cast(Any, DEPLOYMENT), parameters=parameters)


def loaded(flow_run: FlowRun) -> Flow[..., Any]:
    with loading_for(flow_run):
        return flows.templates.acme_service


def executed(flow: Flow[..., Any], flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what the flow does before its run is walked."""

    async def walk_run(*_arguments: Any) -> Any:
        return Completed()

    context = SimpleNamespace(flow_run=flow_run)
    monkeypatch.setattr(flows.templates, "FlowRunContext", SimpleNamespace(get=lambda: context))
    monkeypatch.setattr(flows.templates, "walk_run", walk_run)
    asyncio.run(flow.fn())


def runs(store: AwayNowAndThen) -> list[Run]:
    with store.inner.begin(TENANT, read_only=True) as tx:
        return list(tx.list_runs(RunFilter()).items)


@pytest.mark.usefixtures("runtime")
def test_a_store_that_is_away_for_a_moment_names_no_other_template(
    store: AwayNowAndThen, monkeypatch: pytest.MonkeyPatch
):
    flow_run = a_flow_run(name="shop", note=None)
    store.away = 1
    flow = loaded(flow_run)
    assert flow.name == TEMPLATE
    executed(flow, flow_run, monkeypatch)
    (run,) = runs(store)
    assert (run.template_id, run.error) == (TEMPLATE, None)


def test_a_store_that_stays_away_is_said_to_be(runtime: Runtime, store: AwayNowAndThen):
    vars(runtime).update(settings=runtime.settings.model_copy(update={"lease_seconds": 0.1}))
    store.away = 1000
    with pytest.raises(StoreUnavailableError):
        loaded(a_flow_run(name="shop"))


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("questions", [1, 3])
def test_a_run_is_requested_once_the_store_is_back(
    store: AwayNowAndThen, monkeypatch: pytest.MonkeyPatch, questions: int
):
    flow_run = a_flow_run(name="shop")
    flow = loaded(flow_run)
    store.away = questions
    executed(flow, flow_run, monkeypatch)
    (run,) = runs(store)
    assert (run.flow_run_id, run.error) == (str(flow_run.id), None)
    assert run.admitted_at is not None


@pytest.mark.usefixtures("runtime")
def test_a_prefect_that_is_away_for_a_moment_is_asked_again_for_what_is_to_be_executed(
    monkeypatch: pytest.MonkeyPatch,
):
    away = [PrefectUnavailableError("502")] * 2

    def loaded_for() -> LoadedFor:
        if away:
            raise away.pop()
        return LoadedFor({}, DEPLOYMENT)

    monkeypatch.setattr(flows.templates, "loaded_for", loaded_for)
    monkeypatch.setattr(flows.templates, "_ASK_AGAIN", 0)
    assert flows.templates.acme_service.name == TEMPLATE
