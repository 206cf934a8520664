"""`factory policy`, and what other commands say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.main import main
from deployments.prove.sandbox import Sandbox
from factory_runtime.bootstrap import Runtime, open_runtime
from tests.cli_home import Factory

POLICY = """
templates:
  microservice: {withdrawn: {"0.9.0": it leaks}}
inputs:
  microservice: {properties: {database: {enum: [none]}}}
approval:
  - {name: all, by: [ada, "group:ops"], count: 2}
quotas: {runs_per_day: 5, projects: {shop: 1}}
max_deadline: 30m
notify: [{name: ops, to: $OPS_URL}]
"""
ASKED = ("run", "microservice", "--set", "service_name=orders", "--dry-run")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    monkeypatch.setenv("FACTORY_POLICY_FOLDER", str(folder))
    return folder


def test_without_a_policy_show_says_so(factory: Factory):
    assert "everything is allowed" in factory("policy", "show").out
    shown = factory("policy", "show", "--json").json
    assert (shown["policies"], shown["table"], shown["limits"]["weight"]) == ([], None, 1.0)


def test_an_applied_policy_is_shown_with_every_rule_and_its_source(
    factory: Factory, file: Path, folder: Path
):
    (folder / "local.yaml").write_text("quotas: {projects: {shop: 3, web: 2}}\nweight: 2\n")
    assert "version 1 of the policy of local stands" in factory("policy", "apply", str(file)).out
    said = factory("policy", "show").out
    for word in ("file local.yaml", str(folder), "table, version 1, applied by", "it leaks",
                 "2 votes of ada or group:ops", "$OPS_URL", "30 min"):  # fmt: skip
        assert word in said
    shown = factory("policy", "show", "--json").json
    assert [policy["source"] for policy in shown["policies"]] == ["file local.yaml", "table"]
    assert shown["limits"]["projects"] == {"shop": 1, "web": 2}
    assert (shown["limits"]["weight"], shown["table"]["version"]) == (2, 1)


def test_applying_the_same_again_is_told_and_changes_nothing(factory: Factory, file: Path):
    factory("policy", "apply", str(file))
    assert "stood already" in factory("policy", "apply", str(file)).out
    again = factory("policy", "apply", str(file), "--json").json
    assert (again["version"], again["changed"]) == (1, False)


def test_a_version_that_somebody_replaced_is_a_conflict(factory: Factory, file: Path):
    assert factory("policy", "apply", str(file), "--if-version", "3").code == 4
    assert factory("policy", "apply", str(file), "--if-version", "0").code == 0
    assert factory("policy", "remove", "--if-version", "0").code == 4


def test_a_removed_policy_is_gone_and_can_be_removed_once(factory: Factory, file: Path):
    factory("policy", "apply", str(file))
    assert factory("policy", "remove").code == 0
    assert "everything is allowed" in factory("policy", "show").out
    assert factory("policy", "remove").code == 3


def test_the_text_in_the_table_can_be_had_back_as_it_was_applied(factory: Factory, file: Path):
    assert factory("policy", "show", "--text").code == 3
    factory("policy", "apply", str(file))
    assert factory("policy", "show", "--text").out == file.read_text()
    shown = factory("policy", "show", "--text", "--json").json
    assert (shown["document"], shown["version"]) == (file.read_text(), 1)


def test_a_policy_of_one_tenant_is_nobody_elses(factory: Factory, file: Path):
    factory("policy", "apply", str(file), "--tenant", "acme")
    assert "everything is allowed" in factory("policy", "show").out
    assert "it leaks" in factory("policy", "show", "--tenant", "acme").out
    assert factory("policy", "apply", str(file), "--tenant", "../acme").code == 2


def test_check_names_every_mistake_at_its_place_and_applies_nothing(factory: Factory, file: Path):
    file.write_text("quota: {}\nweight: 0\ntopics: {documentatio: 1}\n")
    said = factory("policy", "check", str(file))
    assert said.code == 2
    assert f"{file}:1:1: unknown-key" in said.out
    assert "did you mean 'quotas'?" in said.out
    assert f"{file}:2:9: bad-value" in said.out
    assert "did you mean 'documentation'?" in said.out  # a warning
    told = factory("policy", "check", str(file), "--json").json
    assert [problem["line"] for problem in told["problems"]] == [1, 2]
    assert [problem["line"] for problem in told["warnings"]] == [3]
    refused = factory("policy", "apply", str(file), "--json")
    assert (refused.code, len(refused.error["problems"])) == (2, 2)
    assert "everything is allowed" in factory("policy", "show").out


def test_a_name_that_is_not_here_is_told_and_does_not_keep_a_policy_out(
    factory: Factory, file: Path
):
    file.write_text("topics: {documentatio: 1}\n")
    assert "in order" in factory("policy", "check", str(file)).out
    assert "no job type 'documentatio'" in factory("policy", "apply", str(file)).out


@pytest.mark.parametrize("command", ["check", "apply"])
def test_a_file_that_cannot_be_read_is_told(factory: Factory, command: str, tmp_path: Path):
    assert factory("policy", command, "nowhere.yaml").code == 3
    assert factory("policy", command, str(tmp_path)).code == 2


def test_a_dry_run_tells_the_approvals_and_whose_the_deadline_is(factory: Factory, file: Path):
    factory("policy", "apply", str(file))
    asked = (*ASKED, "--set", "database=none")
    said = factory(*asked)
    assert said.code == 0
    assert "2 votes of ada or group:ops" in said.out
    assert "30 min, the policy's: the template would take longer" in said.out
    assert "policy-all  approval" in said.out
    plan = factory(*asked, "--json").json
    assert [rule["name"] for rule in plan["approvals"]] == ["all"]
    assert (plan["deadline_capped"], plan["jobs"][0]["name"]) == (True, "policy-all")
    sooner = factory(*asked, "--deadline", "10m").out
    assert "10 min" in sooner
    assert "the policy's" not in sooner


def test_a_dry_run_is_refused_as_the_run_would_be(factory: Factory, file: Path):
    factory("policy", "apply", str(file))
    said = factory(*ASKED, "--deadline", "2h", "--json")
    assert (said.code, said.error["code"]) == (2, "policy-refused")
    rules = [(problem["file"], problem["code"]) for problem in said.error["problems"]]
    assert rules == [("table", "inputs.microservice"), ("table", "max_deadline")]
    assert factory("runs", "list").out == "no runs\n"


def test_a_dry_run_in_a_fresh_folder_makes_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("FACTORY_DATABASE_URL", raising=False)
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "fresh"))
    assert main(ASKED) == 0
    assert "generate-repo" in capsys.readouterr().out
    assert not (tmp_path / "fresh").exists()


def test_a_broken_policy_refuses_until_it_is_mended(factory: Factory, folder: Path):
    broken = folder / "local.yaml"
    broken.write_text("weight: none\n")
    for words in (
        ASKED,
        ("run", "microservice", "--set", "service_name=orders"),
        ("policy", "show"),
    ):
        said = factory(*words, "--json")
        assert (said.code, said.error["code"]) == (5, "policy-unavailable")
        assert f"{broken}:1:9" in said.error["message"]
    assert factory("runs", "list").out == "no runs\n"
    check = _doctors(factory, "policies")
    assert check["state"] == "fail"
    assert f"{broken}:1:9" in check["found"]
    assert f"{broken}:1:9" in factory("templates", "list").out
    broken.write_text("weight: 3\n")
    assert factory(*ASKED).code == 0
    assert _doctors(factory, "policies")["state"] == "ok"


def test_a_proof_asks_no_policy(runtime: Runtime, folder: Path):
    settings = open_runtime().settings
    assert settings.policy_folder == folder
    sandbox = Sandbox(settings)
    sandbox.folder.rmdir()  # nothing was put there yet
    assert sandbox.settings.policy_folder is None


def test_templates_that_are_not_allowed_are_marked_with_the_rule(factory: Factory, file: Path):
    factory("policy", "apply", str(file))
    rows = {row["id"]: row for row in factory("templates", "list", "--json").json["templates"]}
    assert rows["microservice"]["allowed"]
    assert rows["microservice"]["problem"] is None
    file.write_text("templates: {other: {}}")
    factory("policy", "apply", str(file))
    rows = {row["id"]: row for row in factory("templates", "list", "--json").json["templates"]}
    assert not rows["microservice"]["allowed"]
    assert "table: templates microservice is not allowed" in rows["microservice"]["problem"]


def _doctors(factory: Factory, name: str) -> dict[str, str]:
    checks = factory("doctor", "--json").json["checks"]
    (check,) = (check for check in checks if check["name"] == name)
    return check
