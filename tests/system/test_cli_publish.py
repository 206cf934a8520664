"""`factory templates publish` and `withdraw`, and what `factory doctor` says before an upgrade."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, text

from cli.door import open_stores
from cli.prove import bring_published
from cli.store_checks import look_at_store
from deployments.prove.sandbox import Sandbox
from factory_runtime.bootstrap import Runtime
from factory_runtime.run_store.engines import open_engine, parse_url
from factory_runtime.services.plans import read_plan
from factory_runtime.services.request_run import request_run
from tests.builders import a_run_request
from tests.cli_home import Factory, accept_run
from tests.git_server import GitServer, git_server
from tests.system.test_migrations import alembic_config

TEMPLATE = """
id: greeting
version: {version}
title: Greeting
inputs: {{type: object, properties: {{service_name: {{type: string, default: hello}}}}}}
steps:
  - {{name: repo, type: repo-generation, with: {{repository: "${{{{ inputs.service_name }}}}", source: files}}}}
"""
OLD = ("--template-version", "1.0.0")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[GitServer]:
    """With a template ``greeting``, tagged v1, on a host that is listed."""
    with git_server(tmp_path / "git") as served:
        monkeypatch.setenv("FACTORY_TEMPLATE_HOSTS", f'["http://{served.host}"]')
        release(served, "1.0.0", "v1")
        yield served


def release(server: GitServer, version: str, tag: str, body: str = "hi\n") -> str:
    files = {"greeting/template.yaml": TEMPLATE.format(version=version), "greeting/files/a": body}
    commit = server.commit(files)
    server.tag(tag)
    return commit


def test_a_template_is_published_from_git_and_then_needs_it_no_more(
    factory: Factory, server: GitServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = server.location(inside="greeting")
    commit = server.git("rev-parse", "HEAD", cwd=server.work())
    said = factory("templates", "publish", place, "--json")
    assert said.code == 0, said.err
    assert (said.json["version"], said.json["commit"], said.json["new"]) == ("1.0.0", commit, True)
    shown = factory("templates", "show", "greeting")
    assert commit in shown.out
    assert said.json["digest"] in shown.out
    asked = len(server.asked)
    # Another machine: its own home, the same stores, no such host.
    home = tmp_path / "another"
    shutil.copytree(factory.runtime.settings.artifacts_folder, home / "artifacts")
    monkeypatch.setenv("FACTORY_HOME", str(home))
    monkeypatch.delenv("FACTORY_TEMPLATE_HOSTS")
    assert factory("run", "greeting", "--dry-run").code == 0
    assert [row["id"] for row in factory("templates", "list", "--json").json["templates"]] == [
        "greeting", "microservice", "report", "saas-platform",
    ]  # fmt: skip
    assert factory("templates", "check", "greeting").code == 0
    assert factory("templates", "show", "greeting", "--tenant", "umbrella").code == 3
    assert len(server.asked) == asked


def test_a_moved_tag_is_refused_and_a_new_version_stands_beside_the_old(
    factory: Factory, server: GitServer
) -> None:
    place = server.location(inside="greeting")
    first = factory("templates", "publish", place, "--json").json
    assert factory("templates", "publish", place, "--json").json == {**first, "new": False}
    release(server, "1.0.0", "v1", body="moved\n")
    moved = factory("templates", "publish", place, "--json")
    assert (moved.code, moved.error["code"]) == (4, "template-changed")
    release(server, "1.1.0", "v1.1")
    newer = server.location(ref="v1.1", inside="greeting")
    assert factory("templates", "publish", newer).code == 0
    (row,) = [
        row
        for row in factory("templates", "list", "--json").json["templates"]
        if row["id"] == "greeting"
    ]
    assert row["version"] == "1.1.0"
    assert [one["version"] for one in row["published"]] == ["1.1.0", "1.0.0"]
    assert "greeting 1.0.0" in factory("run", "greeting", *OLD, "--dry-run").out
    assert factory("templates", "withdraw", "greeting", "1.1.0").code == 0
    show = factory("templates", "show", "greeting", "--json").json
    assert (show["version"], show["publication"]["commit"]) == ("1.0.0", first["commit"])
    assert factory("templates", "withdraw", "greeting").code == 0
    assert factory("run", "greeting", "--dry-run").code == 2


def test_a_password_in_an_address_is_neither_told_nor_kept(
    factory: Factory, runtime: Runtime, server: GitServer
) -> None:
    place = server.location(inside="greeting").replace("://", "://ann:c4nary@")
    for more in ((), ("--json",)):
        said = factory("templates", "publish", place, *more)
        assert said.code == 2
        assert "c4nary" not in said.out + said.err
    assert server.asked == []
    engine = create_engine(runtime.settings.run_store_url)
    with engine.connect() as connection:
        dump = connection.connection.driver_connection
        assert dump is not None
        assert not any("c4nary" in line for line in dump.iterdump())
    engine.dispose()
    kept = [file for file in runtime.settings.root.rglob("*") if file.is_file()]
    assert not any(b"c4nary" in file.read_bytes() for file in kept)


@pytest.mark.parametrize(
    ("place", "code"),
    [("git+file:///etc@v1", 2), ("git+https://git.example/a/b@v1", 2), ("nowhere", 3)],
)
def test_a_place_that_is_none_has_its_exit_code(factory: Factory, place: str, code: int) -> None:
    assert factory("templates", "publish", place).code == code


# --- doctor


@pytest.fixture
def _few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what is tested here: the rest takes seconds."""
    monkeypatch.setattr("cli.doctor.LOOKS", {"run store": look_at_store})


@pytest.mark.usefixtures("_few_looks")
def test_doctor_tells_of_unfinished_runs_and_whether_they_can_go_on(
    factory: Factory, runtime: Runtime
) -> None:
    run = accept_run(runtime)
    other = request_run(
        runtime.desk, a_run_request(tenant_id="umbrella", template="report", inputs={})
    )
    told = factory("doctor", "--json").json
    assert {check["name"]: check["state"] for check in told["checks"]}["upgrade"] == "ok"
    (one, two) = told["unfinished"]
    assert (one["run_id"], one["template"], one["goes_on"]) == (run.id, "microservice", True)
    assert (two["run_id"], two["tenant"]) == (other.id, "umbrella")
    assert all(one["sources"].values())
    assert one["template_kept"]
    digest = next(iter(read_plan(runtime.storage, run).sources.values()))
    runtime.storage.delete("local", digest)
    said = factory("doctor")
    assert said.code == 5
    (line,) = [line for line in said.out.splitlines() if line.startswith(run.id)]
    assert "1 of" in line
    assert "lost" in line


@pytest.mark.usefixtures("_few_looks")
def test_doctor_leaves_an_older_database_as_it_is(
    factory: Factory, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with closing(open_engine(parse_url(url)).connect()) as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.commit()
    monkeypatch.setenv("FACTORY_DATABASE_URL", url)
    said = factory("doctor", "--json")
    (schema,) = [check for check in said.json["checks"] if check["name"] == "schema"]
    assert schema["state"] == "warn"
    assert "older" in schema["found"]
    assert len(said.json["checks"]) == 1, "what opens the store is not looked at"
    with closing(open_engine(parse_url(url)).connect()) as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0003"
        )
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    said = factory("doctor", "--json")
    assert said.code == 5
    assert "newer" in said.json["checks"][0]["found"]


def test_a_published_template_is_proved_like_any_other(
    factory: Factory, runtime: Runtime, server: GitServer
) -> None:
    assert factory("templates", "publish", server.location(inside="greeting")).code == 0
    digest = runtime.catalog.load("greeting", tenant_id="local").digest
    with Sandbox(runtime.settings) as sandbox:
        bring_published(open_stores(), sandbox, "microservice")
        assert sandbox.runtime.find_store() is None, "a folder is there for both"
        bring_published(open_stores(), sandbox, "greeting")
        assert sandbox.runtime.catalog.load("greeting", tenant_id="local").digest == digest
