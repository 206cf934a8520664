"""The reading commands, their JSON, their errors and their exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.run import Run
from factory_runtime.run_store import SqlRunStore
from tests.cli_home import BODY, Factory, accept_run, fail_run

HEAVY = ("prefect", "lancedb", "copier", "alembic", "jsonschema", "pyarrow", "numpy", "rich")


@pytest.fixture
def failed(runtime: Runtime) -> Run:
    return fail_run(runtime)


# --- runs


def test_runs_are_listed_newest_first_with_complete_ids(factory: Factory, failed: Run) -> None:
    newer = accept_run(factory.runtime, "billing", "shop")
    lines = factory("runs", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", newer.id, failed.id]
    assert "Failed" in lines[2]
    assert "2.0 s" in lines[2]


def test_runs_are_filtered_and_paged(factory: Factory, failed: Run) -> None:
    newer = accept_run(factory.runtime, "billing", "shop")
    assert (
        factory("runs", "list", "--status", "failed", "--json").json["runs"][0]["id"] == failed.id
    )
    assert factory("runs", "list", "--project", "shop", "--json").json["runs"][0]["id"] == newer.id
    assert factory("runs", "list", "--template", "other", "--json").json["runs"] == []
    assert len(factory("runs", "list", "--since", "1h", "--json").json["runs"]) == 2
    page = factory("runs", "list", "--limit", "1", "--json").json
    rest = factory("runs", "list", "--cursor", page["cursor"], "--json").json
    assert [run["id"] for run in page["runs"] + rest["runs"]] == [newer.id, failed.id]
    assert rest["cursor"] is None


def test_another_tenants_runs_are_not_there(factory: Factory, failed: Run) -> None:
    assert factory("runs", "list", "--tenant", "other").out == "no runs\n"
    assert factory("runs", "show", failed.id, "--tenant", "other").code == 3


def test_a_run_is_shown_whole(factory: Factory, failed: Run) -> None:
    said = factory("runs", "show", failed.id)
    assert said.code == 0
    for part in (failed.id, "by ada", "generate-repo", "1.5 s", "3.0 MiB", "art-1", "need-failed"):
        assert part in said.out
    shown = factory("runs", "show", failed.id, "--json").json
    assert shown["run"]["inputs"]["service_name"] == "orders"
    assert shown["jobs"][0]["status"] == "Failed"
    assert shown["attempts"][0]["outcome"] == "permanent-error"
    assert shown["artifacts"][0]["size"] == len(BODY)


def test_what_others_wrote_cannot_steer_the_terminal(factory: Factory, failed: Run) -> None:
    for command in ("show", "logs", "watch"):
        assert "\x1b" not in factory("runs", command, failed.id).out


def test_watching_an_ended_run_tells_its_story_and_its_end(factory: Factory, failed: Run) -> None:
    said = factory("runs", "watch", failed.id)
    assert said.code == 1
    assert re.search(r"generate-repo +Failed +1\.5 s +the host", said.out)
    assert said.out.index("Running") < said.out.index("Failed") < said.out.index("Skipped")
    lines = factory("runs", "watch", failed.id, "--json").out.splitlines()
    sequences = [json.loads(line)["sequence"] for line in lines]
    assert sequences == sorted(sequences)
    assert json.loads(lines[-1])["to_status"] == "Failed"


def test_logs_show_what_jobs_said_and_can_be_narrowed_to_one(factory: Factory, failed: Run) -> None:
    assert "asked the host" in factory("runs", "logs", failed.id).out
    events = factory("runs", "logs", failed.id, "--step", "generate-repo", "--json").json["events"]
    assert {event["step"] for event in events} == {"generate-repo"}
    assert factory("runs", "logs", failed.id, "--step", "nope").code == 3


# --- artifacts


def test_an_artifact_is_written_as_it_was_stored(
    factory: Factory, failed: Run, tmp_path: Path
) -> None:
    place = tmp_path / "runbook.md"
    said = factory("artifacts", "get", "art-1", "--output", str(place))
    assert said.code == 0
    assert "verified" in said.out
    assert place.read_bytes() == BODY
    listed = factory("artifacts", "list", "--run", failed.id, "--json").json["artifacts"]
    assert listed[0]["accessed_at"] is not None


@pytest.mark.usefixtures("failed")
def test_a_damaged_artifact_is_refused_and_leaves_nothing(factory: Factory, tmp_path: Path) -> None:
    (body,) = (tmp_path / "home" / "artifacts").rglob("*/sha256/*/" + _digest(factory))
    body.chmod(0o644)
    body.write_bytes(BODY + b"!")
    said = factory("artifacts", "get", "art-1", "--output", "copy", "--json")
    assert said.code == 5
    assert said.error["code"] == "corrupt-artifact"
    assert not (tmp_path / "copy").exists()


@pytest.mark.usefixtures("failed")
def test_an_artifact_whose_body_is_gone_is_not_found(factory: Factory) -> None:
    factory.runtime.storage.delete("local", _digest(factory))
    said = factory("artifacts", "get", "art-1")
    assert said.code == 3
    assert "docs/runbook.md" in said.err
    assert factory("artifacts", "get", "art-nope").code == 3


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("output", [".", "nowhere/copy"])
def test_a_place_that_cannot_be_written_is_bad_input(factory: Factory, output: str) -> None:
    said = factory("artifacts", "get", "art-1", "--output", output)
    assert (said.code, said.out) == (2, "")


# --- templates


def test_templates_are_listed_and_shown(factory: Factory) -> None:
    listed = factory("templates", "list", "--json").json["templates"]
    assert "microservice" in [template["id"] for template in listed]
    said = factory("templates", "show", "microservice")
    assert re.search(r"service_name +string +required", said.out)
    assert factory("templates", "show", "microservce").err.endswith(
        "did you mean 'microservice'?\n"
    )


def test_a_check_names_every_problem_with_its_place(factory: Factory, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "template.yaml").write_text("id: bad\nversion: 1.0.0\ntitl: x\nsteps: []\n")
    said = factory("templates", "check", "bad")
    assert said.code == 2
    assert re.search(r"^bad/template\.yaml:3:1: \S+ .*titl", said.out, re.MULTILINE)
    problems = factory("templates", "check", str(folder), "--json").json["problems"]
    assert {"file", "line", "column", "code", "message", "hint"} == set(problems[0])
    assert factory("templates", "check", "microservice").code == 0
    assert factory("templates", "check", "./nowhere").code == 3


# --- run, without executing


def test_a_dry_run_shows_the_plan_and_records_nothing(factory: Factory) -> None:
    asked = ("run", "microservice", "--set", "service_name=orders", "--set", "entities=order")
    said = factory(*asked, "--dry-run")
    assert said.code == 0
    assert "apply-domain[order]" in said.out
    assert "creates and commits to default/orders" in said.out
    plan = factory(*asked, "--dry-run", "--json").json
    assert plan["jobs"][0]["name"] == "generate-repo"
    assert plan["renders"]["generate-repo"] == "new"
    assert factory("runs", "list").out == "no runs\n"


def test_a_refused_request_names_all_problems_and_is_recorded(factory: Factory) -> None:
    said = factory("run", "microservice", "--set", "port=x", "--set", "service_nam=a", "--json")
    assert (said.code, said.out) == (2, "")
    text = json.dumps(said.error["problems"])
    assert all(word in text for word in ("port", "service_nam", "service_name is missing"))
    shown = factory("runs", "show", said.error["run_id"], "--json").json
    assert shown["run"]["status"] == "Failed"


def test_an_unknown_template_is_bad_input_with_a_suggestion(factory: Factory) -> None:
    said = factory("run", "microservce", "--json")
    assert (said.code, said.error["hint"]) == (2, "did you mean 'microservice'?")


@pytest.mark.parametrize("deadline", ["", "soon", "0s", "2", "-1h"])
def test_a_deadline_that_is_none_is_bad_input(factory: Factory, deadline: str) -> None:
    assert factory("run", "microservice", "--deadline", deadline).code == 2


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("runs", "lsit"), "Did you mean 'list'?"),
        (("rnu",), "Did you mean"),
        (("runs", "list", "--limit", "0"), "--limit"),
        (("runs", "list", "--status", "Broken"), "no status of a run"),
        (("runs", "list", "--since", "never"), "--since"),
        (("runs", "show"), "RUN_ID"),
        (("runs", "list", "--tenant", "../up"), "cannot be a tenant"),
        (("artifacts", "get", "art-1", "--json", "--output", "-"), "standard output"),
    ],
)
def test_bad_usage_is_one_clear_message(
    factory: Factory, arguments: tuple[str, ...], message: str
) -> None:
    said = factory(*arguments)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert factory(*arguments, "--json").error["message"]


def test_a_bad_setting_is_named(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_MAX_RUNNING_RUNS", "x")
    monkeypatch.setenv("FACTORY_RENDER_FILES", "-1")
    said = factory("runs", "list")
    assert said.code == 2
    assert "FACTORY_MAX_RUNNING_RUNS" in said.err
    assert "FACTORY_RENDER_FILES" in said.err


def test_a_corrupt_store_is_unavailable(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.db").write_bytes(b"not a database" * 1000)
    monkeypatch.setenv("FACTORY_DATABASE_URL", f"sqlite:///{tmp_path}/broken.db")
    said = factory("runs", "list")
    assert said.code == 5
    assert "Traceback" not in said.err
    assert factory("doctor", "--json").code == 5


def test_a_home_that_cannot_be_made_is_unavailable(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.delenv("FACTORY_DATABASE_URL")
    said = factory("runs", "list", "--json")
    assert said.code == 5
    assert "FACTORY_HOME" in said.error["hint"]


def test_an_error_nobody_foresaw_is_one_line_and_a_traceback_in_a_file(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("what is\nthis")

    monkeypatch.setattr(SqlRunStore, "begin", broken)
    said = factory("runs", "list")
    assert said.code == 5
    assert said.err.splitlines()[0] == "RuntimeError: what is"
    assert "Traceback" in (tmp_path / "home" / "stack" / "cli-error.log").read_text()


def test_every_class_of_error_has_its_code() -> None:
    from cli.errors import exit_code_of
    from factory_runtime.domain import errors

    found = {
        kind: exit_code_of(kind("x"))
        for kind in (
            errors.InputError,
            errors.NotFoundError,
            errors.ConflictError,
            errors.TransientError,
            errors.PermanentError,
        )
    }
    assert list(found.values()) == [2, 3, 4, 5, 5]
    assert exit_code_of(PermanentError("x")) == 5


# --- as a process


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


READING = [
    ["--help"],
    ["runs", "list"],
    ["runs", "show", "run-1"],
    ["runs", "cancel", "run-1"],
    ["runs", "pause", "run-1"],
    ["runs", "retry", "run-1"],
    ["jobs", "show", "run-1", "step"],
    ["jobs", "logs", "run-1"],
    ["artifacts", "list"],
]


def test_reading_commands_import_nothing_heavy(runtime: Runtime) -> None:
    """One after the other in one process, which tells the first that does."""
    code = (
        "import sys, cli.main\n"
        f"for arguments in {READING!r}:\n"
        "    cli.main.main(arguments)\n"
        f"    if heavy := set({HEAVY!r}) & set(sys.modules):\n"
        "        sys.exit(f'{arguments} import {sorted(heavy)}')"
    )
    done = _python(code, FACTORY_HOME=str(runtime.settings.root))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("run-1") == len([line for line in READING if "run-1" in line])


def test_help_needs_neither_settings_nor_store(tmp_path: Path) -> None:
    code = (
        "import sys, cli.main\n"
        "cli.main.main(['--help'])\n"
        "sys.exit(','.join({'pydantic', 'sqlalchemy'} & set(sys.modules)) or 0)"
    )
    done = _python(code, FACTORY_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home").exists()


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    code = "import sys, cli.main; sys.exit(cli.main.main(['runs', 'list']))"
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "FACTORY_HOME": str(tmp_path / "home")},
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)
    assert done.stderr == ""


def _digest(factory: Factory) -> str:
    (artifact,) = factory("artifacts", "list", "--json").json["artifacts"]
    return str(artifact["sha256"])
