"""What goes wrong with a Factory API, and what only the stores can be asked."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest
from fastapi import FastAPI

import factory_runtime.client as client_module
from cli.completion import complete_run, complete_template
from factory_runtime.client import Target
from factory_runtime.domain.access import Role
from factory_runtime.domain.run import RunStatus
from tests.api.served import Served
from tests.api.site import somebody
from tests.far import HURRY, MAKES, Far, me


def test_a_wrong_key_and_one_that_may_not_are_refused(far: Far):
    wrong = far.typed("runs", "list", key="fk_wrong")
    assert (wrong.code, "Traceback" in wrong.err) == (4, False)
    viewer = far.site.token(me(role=Role.VIEWER))
    run_id = far.run()
    assert far.typed("runs", "show", run_id, key=viewer).code == 0
    assert far.typed("runs", "cancel", run_id, key=viewer).code == 4
    assert far.typed("memory", "forget", "--run", run_id, "--yes", key=viewer).code == 4
    assert far.status(run_id) is RunStatus.VALIDATED


def test_another_tenant_s_run_is_as_one_that_never_was(far: Far):
    foreign = far.site.run(far.site.client(somebody(tenant_id="umbrella")))
    for command in ("show", "watch", "cancel", "retry", "undo", "logs"):
        there, nowhere = (far.typed("runs", command, one) for one in (foreign, "run-none"))
        assert there.code == 3
        assert there.err.replace(foreign, "run-none") == nowhere.err


def test_a_server_that_is_away_is_unavailable(far: Far, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "Target", partial(Target, patience=HURRY))
    told = far.typed("runs", "list", url="http://127.0.0.1:1")
    assert (told.code, "FACTORY_API_URL" in told.err) == (5, True)
    asked = far.typed("run", "service", *MAKES, "--json", url="http://127.0.0.1:1")
    assert (asked.code, asked.error["code"]) == (5, "api-unavailable")


def test_a_server_that_is_no_factory_is_told(far: Far):
    elsewhere = FastAPI(openapi_url=None)

    @elsewhere.get("/{path:path}")
    def page(path: str) -> dict[str, str]:
        return {"hello": path}

    with Served(elsewhere) as served:
        for words in (("runs", "list"), ("runs", "watch", "run-1"), ("templates", "list")):
            told = far.typed(*words, url=served.url)
            assert (told.code, "no Factory API" in told.err) == (5, True), words


def test_an_address_that_is_none_is_a_bad_setting(far: Far):
    told = far.typed("runs", "list", url="localhost:4280")
    assert (told.code, "FACTORY_API_URL" in told.err) == (2, True)


def test_a_key_is_sent_in_clear_only_where_that_was_said(far: Far, monkeypatch: pytest.MonkeyPatch):
    """An address that is not called this machine's, though nobody else is reached by it."""
    monkeypatch.setattr(client_module, "Target", partial(Target, patience=HURRY))
    told = far.typed("runs", "list", "--json", url="http://0.0.0.0:1")
    assert (told.code, told.error["code"]) == (2, "key-in-clear")
    assert far.key not in told.err
    monkeypatch.setenv("FACTORY_API_PLAIN_HTTP", "true")
    told = far.typed("runs", "list", "--json", url="http://0.0.0.0:1")
    assert (told.code, told.error["code"]) == (5, "api-unavailable")


def test_the_address_may_be_that_of_the_paths_too(far: Far):
    assert far.typed("runs", "list", url=f"{far.url}/api/v1/").out == far.typed("runs", "list").out


def test_the_tenant_is_the_credential_s(far: Far):
    for words in (
        ("runs", "list"),
        ("run", "service"),
        ("approvals", "list"),
        ("memory", "forget", "--project", "shop", "--yes"),
    ):
        told = far.typed(*words, "--tenant", "umbrella")
        assert (told.code, "the credential says" in told.err) == (2, True), words


@pytest.mark.parametrize(
    "line",
    [
        "up",
        "down",
        "sweep",
        "doctor",
        "prove service",
        "api",
        "policy show",
        "audit verify",
        "templates publish service",
        "templates deploy service",
        "templates check service",
        "effects list --check",
        "effects settle run-1 make --reason gone",
        "dead-letters list --all-tenants",
        "memory stats",
        "memory rebuild",
        "memory model list",
    ],
)
def test_what_works_on_the_stores_says_so(far: Far, line: str):
    told = far.typed(*line.split(), "--json") if line != "api" else far.typed(line)
    assert (told.code, "unset FACTORY_API_URL" in told.err) == (2, True)


def test_a_folder_is_checked_whatever_the_settings_name(far: Far):
    told = far.typed("templates", "check", str(far.site.templates / "service"))
    assert (told.code, "is in order" in told.out) == (0, True)


def test_the_shell_completes_what_the_api_tells(far: Far, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACTORY_API_URL", far.url)
    monkeypatch.setenv("FACTORY_API_KEY", far.key)
    assert complete_template("serv") == ["service"]
    assert far.laid.failed in complete_run("run-")
    monkeypatch.setenv("FACTORY_API_KEY", "fk_wrong")
    assert complete_run("run-") == []


def test_each_way_imports_its_own_alone(far: Far):
    """In a process of its own: here all of it is imported already."""
    code = (
        "import sys, cli.main\n"
        "for words in (['runs', 'list'], ['runs', 'show', 'run-1'], ['templates', 'list']):\n"
        "    cli.main.main(words)\n"
        "found = {'sqlalchemy', 'prefect', 'httpx', 'lancedb'} & set(sys.modules)\n"
        "sys.exit(','.join(sorted(found)))"
    )
    home = str(far.site.runtime.settings.root.parent / "elsewhere")
    for url, expected in ((far.url, "httpx"), ("", "sqlalchemy")):
        env = {**os.environ, "FACTORY_HOME": home, "FACTORY_API_KEY": far.key}
        env |= {"FACTORY_API_URL": url} if url else {}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
        )
        assert done.stderr.splitlines()[-1] == expected, done.stderr
