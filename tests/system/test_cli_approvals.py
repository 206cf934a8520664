"""`factory approvals`: what waits for people, and who they are."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from cli.completion import complete_approval
from cli.main import main
from cli.person import person, person_groups
from cli.text import local_time
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.approval import Approval, ApprovalStatus, Vote
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.approvals import decide
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.dispatch import admit
from factory_runtime.services.end_run import cancel_run
from factory_runtime.services.engine import Walk, begin_walk
from factory_runtime.services.put_down import put_down
from factory_runtime.services.request_run import request_run
from factory_runtime.services.run_attempt import publish_attempt
from tests.cli_home import Factory, get_run, typed, typing

TEMPLATE = """
id: gated
version: 2.1.0
title: Gated
description: Asks before it makes a repository.
inputs:
  type: object
  properties: {name: {type: string}, password: {type: string}}
steps:
  - name: base
    type: repo-generation
    with: {repository: "${{ inputs.name }}", source: files}
    approval: {message: "Make \\e[31m${{ inputs.name }}?", by: [WHO, "group:no-such-group"], count: COUNT}
"""
NOBODY = "nobody"
"""Another user of the operating system than who runs the tests."""


def a_template(folder: Path, who: str, count: int) -> None:
    (folder / "gated" / "files").mkdir(parents=True)
    (folder / "gated" / "files" / "copier.yml").write_text("name: {type: str, default: x}\n")
    text = TEMPLATE.replace("WHO", who).replace("COUNT", str(count))
    (folder / "gated" / "template.yaml").write_text(text)


def ask(runtime: Runtime, by: str = "ada") -> Approval:
    """A run that waits, with no process, until people have decided."""
    inputs = {"name": "orders", "password": "hunter2"}
    request = RunRequest("local", "shop", "gated", inputs, by)
    run = request_run(runtime.desk, request)
    admit(runtime.store, runtime.clock, run, 100, "here:1")
    walk = begin_walk(runtime.engine, "local", run.id, new_id("flow"))
    assert isinstance(walk, Walk)
    begun = begin_attempt(runtime.engine, walk, "approve-base")
    assert not isinstance(begun, AnotherAttempt)
    waits = publish_attempt(runtime.engine, walk, begun, None)  # pyright: ignore[reportArgumentType] - it has begun
    assert isinstance(waits, AnotherAttempt)
    put_down(runtime.engine, walk, RunStatus.WAITING, waits.not_before)
    with runtime.store.begin("local", read_only=True) as tx:
        (approval,) = tx.list_approvals(run_id=run.id)
    return approval


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of templates that the home of the tests knows; one asks who runs the tests."""
    folder = tmp_path / "templates"
    a_template(folder, person(), 1)
    monkeypatch.setenv("FACTORY_TEMPLATE_FOLDERS", json.dumps([str(folder)]))
    return folder


@pytest.fixture
def approval(templates: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Approval:
    """Of a run that ada requested and who runs the tests may decide."""
    vars(runtime).update(settings=open_runtime().settings)
    return ask(runtime)


def stands(runtime: Runtime, approval: Approval) -> tuple[Approval, tuple[Vote, ...]]:
    with runtime.store.begin("local", read_only=True) as tx:
        return tx.get_approval(approval.id), tx.list_votes(approval.id)


def run_of(runtime: Runtime, approval: Approval) -> Run:
    with runtime.store.begin("local", read_only=True) as tx:
        return tx.get_run(approval.run_id)


# --- looking


def test_what_waits_is_listed_with_who_may_decide_it(factory: Factory, approval: Approval) -> None:
    said = factory("approvals", "list")
    assert said.code == 0
    for part in (
        approval.id,
        approval.run_id,
        "approve-base",
        "ada",
        f"{person()} or group:no-such-group",
        "0 of 1",
        "orders?",
    ):
        assert part in said.out
    assert "\x1b" not in said.out
    (row,) = factory("approvals", "list", "--json").json["approvals"]
    assert (row["id"], row["status"], row["votes"]) == (approval.id, "open", [])


def test_what_is_decided_is_listed_only_where_it_is_asked_for(
    factory: Factory, approval: Approval
) -> None:
    factory("approvals", "grant", approval.id)
    assert factory("approvals", "list").out == "nothing waits to be approved\n"
    assert factory("approvals", "list", "--json").json == {"approvals": []}
    assert approval.id in factory("approvals", "list", "--all").out


def test_who_is_to_decide_sees_all_that_it_is_about(factory: Factory, approval: Approval) -> None:
    said = factory("approvals", "show", approval.id)
    assert said.code == 0
    for part in (
        "Make",
        "gated 2.1.0",
        f"sha256:{approval.plan_digest}",
        "by ada",
        "creates and commits to shop/orders",
        "name      orders",
        f"factory approvals grant {approval.id}",
        f"factory approvals deny {approval.id} --comment",
    ):
        assert part in said.out, part
    assert "hunter2" not in said.out
    told = factory("approvals", "show", approval.id, "--json").json
    assert told["may_decide"] is True
    assert told["jobs"][1] == {
        "name": "base",
        "type": "repo-generation",
        "status": "Pending",
        "waits_for_approval": True,
        "does": "creates and commits to shop/orders",
    }
    assert told["jobs"][0]["waits_for_approval"] is False


def test_a_run_that_waits_names_the_approval_and_what_to_type(
    factory: Factory, approval: Approval
) -> None:
    said = factory("runs", "show", approval.run_id)
    until = local_time(approval.expires_at)
    assert f"Waiting: waits for people until {until}" in said.out
    assert (
        f"approve-base: waits for approval {approval.id} by {person()} or group:no-such-group,"
        f" until {until}\n  goes on with `factory approvals grant {approval.id}`\n"
    ) in said.out
    assert said.out.count(f"waits for approval {approval.id}") == 1
    assert "goes on at" not in said.out
    told = factory("runs", "show", approval.run_id, "--json").json
    assert [one["id"] for one in told["approvals"]] == [approval.id]
    factory("approvals", "grant", approval.id)
    assert "waits for approval" not in factory("runs", "show", approval.run_id).out


def test_a_run_that_asks_says_that_its_deadline_stands_still(
    factory: Factory, runtime: Runtime, templates: Path, approval: Approval
) -> None:
    file = templates / "gated" / "template.yaml"
    file.write_text(file.read_text().replace("version: 2.1.0", "version: 2.2.0\ndeadline: 2h"))
    asked = ask(runtime)
    says = "it stands still while people are asked"
    assert says in factory("runs", "show", asked.run_id).out
    factory("approvals", "grant", asked.id)
    assert says not in factory("runs", "show", asked.run_id).out
    assert says not in factory("runs", "show", approval.run_id).out, "it has no deadline"


def test_of_a_run_that_began_in_prefect_one_vote_more_is_wanted(
    factory: Factory, runtime: Runtime, approval: Approval
) -> None:
    asked = ask(runtime, by="prefect")
    said = factory("approvals", "show", asked.id).out
    assert "by prefect: nobody knows who it was, so one vote more is wanted" in said
    assert ", 2 of them" in said
    assert "granted by 1 of 2" in factory("approvals", "grant", asked.id).out


def test_a_dry_run_warns_of_an_approval_that_nobody_could_give(
    factory: Factory, templates: Path
) -> None:
    file = templates / "gated" / "template.yaml"
    file.write_text(file.read_text().replace(', "group:no-such-group"', ""))
    warning = (
        f"approve-base would fail: only {person()} may approve this, and {person()} requested it"
    )
    typed = ("run", "gated", "--set", "name=orders", "--dry-run")
    assert f"{warning}\n" in factory(*typed).out
    assert factory(*typed, "--json").json["warnings"] == [warning]


@pytest.mark.parametrize("word", ["show", "grant"])
def test_an_approval_that_is_not_there_is_not_found(factory: Factory, word: str) -> None:
    said = factory("approvals", word, "appr-none", "--json")
    assert (said.code, said.error["code"]) == (3, "approval-not-found")


def test_open_approvals_are_completed(runtime: Runtime, approval: Approval) -> None:
    assert complete_approval(approval.id[:8]) == [approval.id]
    assert complete_approval("appr-x") == []
    cancel_run(runtime.store, runtime.clock, "local", approval.run_id, "ada")
    assert complete_approval("") == []


# --- deciding


def test_it_is_granted_as_who_types(factory: Factory, approval: Approval) -> None:
    said = factory("approvals", "grant", approval.id, "--comment", "go\x1b[31m on")
    assert said.code == 0, said.err
    assert f"{approval.id}  granted by {person()}\n" in said.out
    assert f"{approval.run_id}  Waiting" in said.out
    after, (vote,) = stands(factory.runtime, approval)
    assert (after.status, vote.person, vote.granted) == (ApprovalStatus.GRANTED, person(), True)
    run = run_of(factory.runtime, approval)
    assert run.wake_at is not None
    assert run.wake_at <= factory.runtime.clock.now()
    logs = factory("runs", "logs", approval.run_id).out
    assert f"{approval.id} asked: {person()} or group:no-such-group" in logs
    assert f"{approval.id} granted by {person()}: go" in logs
    assert "\x1b" not in logs


def test_the_same_vote_again_says_that_nothing_was_changed(
    factory: Factory, approval: Approval
) -> None:
    factory("approvals", "grant", approval.id)
    said = factory("approvals", "grant", approval.id)
    assert (said.code, "nothing was changed" in said.out) == (0, True)
    told = factory("approvals", "grant", approval.id, "--json").json
    assert (told["counted"], told["approval"]["status"]) == (False, "granted")
    other = factory("approvals", "deny", approval.id, "--comment", "wait")
    assert (other.code, f"{person()} has granted" in other.err) == (4, True)


def test_who_denies_it_says_why(factory: Factory, approval: Approval) -> None:
    assert factory("approvals", "deny", approval.id).code == 2
    assert factory("approvals", "deny", approval.id, "--comment", " ").code == 2
    assert stands(factory.runtime, approval)[0].status is ApprovalStatus.OPEN
    told = factory("approvals", "deny", approval.id, "--comment", "no", "--json").json
    assert (told["approval"]["status"], told["votes"][0]["comment"]) == ("denied", "no")


def test_who_requested_the_run_may_not_decide_it(
    factory: Factory, runtime: Runtime, approval: Approval
) -> None:
    mine = ask(runtime, by=person())
    said = factory("approvals", "grant", mine.id, "--json")
    assert (said.code, said.error["code"]) == (4, "not-allowed")
    assert f"{person()} requested the run" in said.error["message"]
    assert f"{person()} may not grant it: {person()} requested" in (
        factory("approvals", "show", mine.id).out
    )
    assert stands(runtime, mine) == (mine, ())


def test_what_expired_or_whose_run_was_cancelled_is_a_conflict(
    factory: Factory, runtime: Runtime, approval: Approval
) -> None:
    cancel_run(runtime.store, runtime.clock, "local", approval.run_id, "ada")
    said = factory("approvals", "grant", approval.id)
    assert (said.code, "withdrawn" in said.err) == (4, True)


# --- who types


def test_no_variable_says_who_types(
    runtime: Runtime, approval: Approval, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ask(runtime, by=person())
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME", "SUDO_USER", "SUDO_UID", "HOME"):
        monkeypatch.setenv(name, "grace" if name != "HOME" else os.environ["HOME"])
    assert person() == pwd.getpwuid(os.getuid()).pw_name
    said = typed(typing(runtime, "approvals", "grant", mine.id))
    assert (said.code, "requested the run" in said.err) == (4, True)


@pytest.mark.parametrize("option", ["--by", "--as", "--user", "--person"])
def test_no_option_says_who_types(factory: Factory, approval: Approval, option: str) -> None:
    assert factory("approvals", "grant", approval.id, option, "grace").code == 2


def test_the_groups_of_who_types_are_the_systems() -> None:
    told = subprocess.run(["id", "-Gn"], capture_output=True, text=True, check=True)
    assert person_groups() == frozenset(told.stdout.split())


@pytest.mark.parametrize(
    ("uid", "name"), [(65534, pwd.getpwuid(65534).pw_name), (54321, "uid-54321")]
)
def test_a_person_is_who_the_process_runs_as(uid: int, name: str) -> None:
    if os.getuid() != 0:  # nobody else may become another user
        uid, name = os.getuid(), pwd.getpwuid(os.getuid()).pw_name
    program = f"import os; from cli.person import person; os.setuid({uid}); print(person())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.stdout.strip() == name, told.stderr


@pytest.fixture
def open_home(monkeypatch: pytest.MonkeyPatch) -> Generator[Runtime]:
    """A home that every user of this machine may write, and a template that asks nobody and us."""
    root = Path(tempfile.mkdtemp(prefix="factory-open-"))
    a_template(root / "templates", NOBODY, 1)
    monkeypatch.setenv("FACTORY_HOME", str(root / "home"))
    monkeypatch.setenv("FACTORY_TEMPLATE_FOLDERS", json.dumps([str(root / "templates")]))
    monkeypatch.chdir(root)
    runtime = open_runtime()
    yield runtime
    assert isinstance(runtime.store, SqlRunStore)
    runtime.store.close()
    shutil.rmtree(root)


AS_ANOTHER = """
import os, sys
from cli.main import main
import cli.standing, factory_runtime.services.approvals
main(["approvals", "list"])  # this user may not be able to read what is imported
main(["approvals", "show", sys.argv[1]])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(["approvals", "grant", sys.argv[1], "--comment", "as another", "--json"]))
"""


def grant_as_another(runtime: Runtime, approval: Approval) -> None:
    """As another user of the system, where the tests may become one; else as the service has it."""
    if os.getuid() != 0:
        decide(runtime.store, runtime.clock, "local", approval.id, NOBODY, (), True, "as another")
        return
    subprocess.run(["chmod", "-R", "a+rwX", str(Path.cwd())], check=True)
    lies: dict[str, Any] = {"USER": "ada", "LOGNAME": "ada", "SUDO_USER": "ada"}
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, approval.id],
        env={**os.environ, **lies},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_another_user_of_the_system_grants_what_this_one_requested(open_home: Runtime) -> None:
    approval = ask(open_home, by=person())
    # Not this one, though root may do everything else.
    assert main(["approvals", "grant", approval.id]) == 4
    grant_as_another(open_home, approval)
    after, (vote,) = stands(open_home, approval)
    assert (after.status, vote.person, vote.comment) == (
        ApprovalStatus.GRANTED,
        NOBODY,
        "as another",
    )
    assert get_run(open_home, run_of(open_home, approval)).status is RunStatus.WAITING


def test_a_dry_run_says_whom_it_would_ask(factory: Factory, templates: Path) -> None:
    said = factory("run", "gated", "--set", "name=orders", "--dry-run")
    assert f"waits until {person()} or group:no-such-group approves" in said.out, said.err
