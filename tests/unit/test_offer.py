"""What `factory up` offers in Prefect; what goes wrong with it is a line, and no end of the stack."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployments import offer
from deployments.kept import StackWorker
from deployments.offer import Offer, deploy_what_never_was
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.errors import HostRejectedError, PrefectUnavailableError
from factory_runtime.orchestration.work_pool import WORK_POOL_TYPE
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.settings import Settings
from tests.builders import a_deployment


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """Knows the templates one, two and three, and no Prefect."""
    settings = Settings(home=tmp_path, warm_processes=1)
    settings.stack_folder.mkdir(parents=True)
    runtime = open_runtime(settings)

    def names(tenant_id: str) -> tuple[str, ...]:
        del tenant_id
        return ("one", "two", "three")

    catalog = SimpleNamespace(names=names)
    vars(runtime).update(store=InMemoryRunStore(), catalog=catalog)
    return runtime


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of templates that were deployed; ``two`` is refused."""
    names: list[str] = []

    def deploy(runtime: Runtime, name: str, order: Any) -> None:
        del runtime, order
        if name == "two":
            raise HostRejectedError("it has no form")
        names.append(name)

    monkeypatch.setattr(offer, "deploy_template", deploy)
    return names


def kept(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, pool: Any) -> tuple[list[str], bool]:
    """What is told at last, where the pool is of this type, or cannot be had for this reason."""

    def ensure(name: str) -> str:
        del name
        if isinstance(pool, Exception):
            raise pool
        return pool

    monkeypatch.setattr(offer, "ensure_work_pool", ensure)
    monkeypatch.setattr(offer, "_LOOK_EVERY", 0)
    told: list[tuple[list[str], bool]] = []

    def tell(lines: Sequence[str], settled: bool) -> None:
        told.append((list(lines), settled))

    asyncio.run(Offer(runtime, tell).keep())
    return told[-1]


def test_only_what_was_never_deployed_is_and_one_that_is_refused_stops_no_other(
    runtime: Runtime, deployed: list[str]
):
    with runtime.store.begin("local") as tx:
        tx.save_deployment(a_deployment(tenant_id="local", template_id="one"))
    lines = deploy_what_never_was(runtime)
    assert deployed == ["three"]
    assert lines == ["the template two is not deployed: it has no form", "deployed three/local"]


@pytest.mark.usefixtures("deployed")
def test_a_pool_of_another_type_is_not_served_and_one_line_says_so(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    lines, settled = kept(runtime, monkeypatch, "process")
    assert settled
    assert "of the type process: `prefect worker start --pool factory` serves it" in lines[-1]


@pytest.mark.usefixtures("deployed")
def test_no_processes_are_no_worker(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    none = Runtime(runtime.settings.model_copy(update={"warm_processes": 0}), runtime.clock)
    vars(none).update(store=runtime.store, catalog=runtime.catalog)
    lines, settled = kept(none, monkeypatch, WORK_POOL_TYPE)
    assert settled
    assert lines[-1] == "no warm worker: FACTORY_WARM_PROCESSES is 0"


@pytest.mark.parametrize("error", [PrefectUnavailableError("it is away"), OSError("no memory")])
def test_what_cannot_be_offered_is_one_line(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    (line,), settled = kept(runtime, monkeypatch, error)
    assert settled
    assert line.startswith("not offered in Prefect: ")


@pytest.mark.usefixtures("deployed")
def test_a_pool_that_is_deleted_is_made_again(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    ensured: list[str] = []

    def ensure(name: str) -> str:
        ensured.append(name)
        if len(ensured) == 2:
            raise PrefectUnavailableError("it is away")
        return WORK_POOL_TYPE

    monkeypatch.setattr(offer, "ensure_work_pool", ensure)
    monkeypatch.setattr(offer, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(offer, "_ENSURE_EVERY", 0)
    monkeypatch.setattr(StackWorker, "start", lambda _: None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    monkeypatch.setattr(StackWorker, "revive", lambda _: len(ensured) < 3)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]

    async def kept_for_a_while() -> None:
        await asyncio.wait_for(Offer(runtime, lambda _lines, _settled: None).keep(), 10)

    asyncio.run(kept_for_a_while())
    assert len(ensured) >= 3


@pytest.mark.usefixtures("deployed")
def test_a_worker_that_ends_again_and_again_is_given_up(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    def no_words(worker: StackWorker) -> list[str]:
        del worker
        return ["no_such_module"]

    monkeypatch.setattr(StackWorker, "words", no_words)
    lines, settled = kept(runtime, monkeypatch, WORK_POOL_TYPE)
    assert settled
    assert lines[-1].startswith("the warm worker ends again and again: see ")
