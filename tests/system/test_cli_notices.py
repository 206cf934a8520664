"""`factory sweep` tells what nobody told; `factory runs show` says what became of a run."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.records import RunEvent
from factory_runtime.domain.run import Run
from factory_runtime.orchestration import prefect_api
from factory_runtime.services.messages import leave_notice
from tests.cli_home import Factory, accept_run, fail_run
from tests.receivers import a_notice


@pytest.fixture
def failed(runtime: Runtime) -> Run:
    return fail_run(runtime)


def leave(runtime: Runtime) -> None:
    with runtime.store.begin("local") as tx:
        leave_notice(tx, a_notice(tenant_id="local"))


def test_a_sweep_tells_what_nobody_has_told_yet_once(factory: Factory) -> None:
    leave(factory.runtime)
    assert factory("sweep", "--json").json["done"] == 2
    log = factory.runtime.settings.stack_folder / "notices.log"
    told = log.read_text()
    assert "info dead-letter local: A new kind of failure" in told
    assert factory("sweep", "--json").json["done"] == 0
    assert log.read_text() == told


def test_a_sweep_goes_on_although_a_target_takes_nothing(factory: Factory, tmp_path: Path) -> None:
    leave(factory.runtime)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        policy = tmp_path / "policy.yaml"
        address = f"json://127.0.0.1:{nobody.getsockname()[1]}/"
        policy.write_text(f"notify: [{{name: pager, to: '{address}'}}]\n")
        assert factory("policy", "apply", str(policy)).code == 0
        said = factory("sweep", "--json")
    assert (said.code, said.json["done"], said.json["failed"]) == (0, 1, 1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The servers that a block was asked of."""
    servers: list[str | None] = []

    def ask(method: str, path: str, *_: object, **names: object) -> Any:
        assert (method, names.get("block_document_name")) == ("GET", "on-call"), path
        servers.append(get_current_settings().api.url)
        return {"data": {"url": "log:"}}

    monkeypatch.setattr(prefect_api, "ask", ask)
    return servers


@pytest.mark.parametrize("ours", [None, "http://127.0.0.1:9/api"])
def test_an_address_is_asked_of_our_server_and_of_no_other(
    factory: Factory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[str | None],
    ours: str | None,
) -> None:
    leave(factory.runtime)
    (tmp_path / "policy.yaml").write_text("notify: [{name: pager, to: 'block:on-call'}]\n")
    assert factory("policy", "apply", str(tmp_path / "policy.yaml")).code == 0
    if ours is not None:
        monkeypatch.setenv("FACTORY_PREFECT_API_URL", ours)
    with temporary_settings({PREFECT_API_URL: "http://somebody.example/api"}):
        said = factory("sweep", "--json").json
    assert set(asked) == (set[str]() if ours is None else {ours})
    assert said["done"] == (1 if ours is None else 2), "what was not sent waits"


def test_a_run_is_shown_with_what_became_of_it_and_what_to_do(
    factory: Factory, failed: Run
) -> None:
    out = factory("runs", "show", failed.id).out
    assert "What became of it" in out
    assert "generate-repo (repo-generation, 1 attempt): the host" in out
    assert f"  factory runs retry {failed.id}\n" in out
    report = factory("runs", "show", failed.id, "--json").json["report"]
    assert [job["step"] for job in report["failed"]] == ["generate-repo"]
    assert f"factory runs retry {failed.id}" in report["commands"]


def test_a_run_under_way_has_nothing_that_became_of_it(factory: Factory) -> None:
    run = accept_run(factory.runtime)
    assert factory("runs", "show", run.id, "--json").json["report"] is None
    assert "What became of it" not in factory("runs", "show", run.id).out


def test_the_log_of_a_run_tells_who_was_not_told(factory: Factory, failed: Run) -> None:
    now = factory.runtime.clock.now()
    detail = {"target": "pager", "message": "pager was not told: it answered 503"}
    with factory.runtime.store.begin("local") as tx:
        tx.add_event(RunEvent("local", failed.id, now, "notice-given-up", detail=detail))
    assert "pager was not told: it answered 503" in factory("runs", "logs", failed.id).out
