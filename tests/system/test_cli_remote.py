"""The command line by a Factory API: the same words, pages and exit codes, with a URL and a key."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import factory_runtime.client as client_module
from cli.completion import complete_run, complete_template
from cli.desk.local_looks import LocalLooks
from cli.desk.remote import RemoteDesk
from cli.desk.remote_looks import RemoteLooks
from cli.main import main
from cli.person import person, person_groups
from factory_runtime.client import FactoryClient, Target
from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import CorruptArtifactError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunRequest, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import open_run_store
from factory_runtime.services.end_run import end_run
from tests.api.laid_out import TEXT, LaidOut, lay_out
from tests.api.served import Served
from tests.api.site import ApiSite, somebody
from tests.builders import a_checkpoint, a_memory, an_attempt, an_event
from tests.cli_home import Said
from tests.factory import until
from tests.remembering import remembering_of

MAKES = ("--set", "service_name=orders")
HURRY = timedelta(seconds=0.2)


@dataclass
class Far:
    """A factory, served; its commands typed here beside it, or by its API."""

    site: ApiSite
    url: str
    laid: LaidOut
    key: str
    patch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str] | None = None

    def typed(self, *words: str, url: str | None = None, key: str | None = None) -> Said:
        """By the API, there or elsewhere, with this key or another."""
        with self.patch.context() as patch:
            patch.setenv("FACTORY_API_URL", url or self.url)
            patch.setenv("FACTORY_API_KEY", key or self.key)
            return self.here(*words)

    def here(self, *words: str) -> Said:
        assert self.capsys is not None
        self.capsys.readouterr()
        code = main(words)
        captured = self.capsys.readouterr()
        return Said(code, captured.out, captured.err)

    def run(self, **asked: Any) -> str:
        return self.site.run(self.site.client(somebody()), **asked)

    def at_work(self, do: Callable[[str], None]) -> None:
        """Do it to the next run that is asked for, as whoever executes runs."""
        with self.site.store.begin("acme", read_only=True) as tx:
            known = {run.id for run in tx.list_runs(RunFilter(), limit=1000).items}

        def look() -> bool:
            with self.site.store.begin("acme", read_only=True) as tx:
                new = [run.id for run in tx.list_runs(RunFilter()).items if run.id not in known]
            for run_id in new:
                do(run_id)
            return bool(new)

        threading.Thread(target=until, args=(look, "a run is asked for"), daemon=True).start()

    def end(self, run_id: str, status: RunStatus, reason: str) -> None:
        runtime = self.site.runtime
        end_run(runtime.store, runtime.clock, "acme", run_id, status, reason)

    def status(self, run_id: str) -> RunStatus:
        return self.site.stands("acme", run_id).status


def me(tenant: str = "acme", role: Role = Role.ADMIN) -> Principal:
    """Who types, as the API knows them."""
    return Principal(person(), tenant, (Grant(role),), person_groups())


@pytest.fixture(scope="module")
def far_away(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite_file: Path
) -> Generator[Far]:
    folder = tmp_path_factory.mktemp("far")
    file, often = folder / "factory.db", "1000000/second"
    shutil.copyfile(migrated_sqlite_file, file)
    url = f"sqlite:///{file}"
    with closing(open_run_store(url)) as store, pytest.MonkeyPatch.context() as patch:
        site = ApiSite(folder, url, store, api_rate=often, api_tenant_rate=often, tenant="acme")
        laid = furnish(site)
        patch.setenv("FACTORY_TENANT", "acme")
        patch.setenv("FACTORY_HOME", str(folder / "home"))
        patch.setattr("factory_runtime.bootstrap.open_runtime", always(site.runtime))
        # As where `factory up` runs: by the API it is not seen that nobody executes runs.
        patch.setattr(LocalLooks, "is_executed", always(True))
        now = site.runtime.clock.now()
        for looks in (LocalLooks, RemoteLooks):  # at the same moment
            patch.setattr(looks, "now", always(now))
        with Served(site.app()) as served:
            yield Far(site, served.url, laid, site.token(me()), patch)


@pytest.fixture
def far(far_away: Far, capsys: pytest.CaptureFixture[str]) -> Far:
    far_away.capsys = capsys
    return far_away


def always(value: Any) -> Callable[..., Any]:
    def give(*_: object) -> Any:
        return value

    return give


def furnish(site: ApiSite) -> LaidOut:
    """One of everything that a page can show."""
    laid = lay_out(site, "shop")
    now = site.runtime.clock.now()
    with site.store.begin("acme") as tx:
        run, job = tx.get_run(laid.failed), tx.get_job(laid.failed, "make")
        tx.add_attempt(
            replace(
                an_attempt(job),
                started_at=now,
                completed_at=now + timedelta(seconds=2),
                outcome=Outcome.PERMANENT,
                error="the host refuses orders",
                traceback=Body("Traceback: here"),
                peak_memory_bytes=3_000_000,
            )
        )
        waits = tx.get_job(laid.waiting, "check")
        lease: dict[str, Any] = {"lease_owner": "here:1-walk", "fencing_token": 1}
        lease["lease_expires_at"] = now + timedelta(hours=1)
        claimed = waits.move_to(JobStatus.RUNNING, now, attempt=1, **lease)
        tx.save_job(waits, claimed)
        tx.save_checkpoint(claimed, a_checkpoint(claimed, saved_at=now))
        said = {"message": "asked the host"}
        tx.add_event(an_event(run, at=now, kind="log", step="make", detail=said))
    one = a_memory(id="mem-1", project_id="shop", outcome="succeeded", text="orders service")
    remembering_of(site.runtime).remember(one)
    return laid


# --- reading

READING = (
    "runs list",
    "runs list --limit 1",
    "runs list --where status=Failed --since 2h",
    "runs list --project nowhere",
    "runs show {failed}",
    "runs show {waiting}",
    "runs logs {failed}",
    "runs logs {failed} --step make",
    "jobs show {failed} make",
    "jobs show {failed} make --traceback",
    "jobs show {waiting} check",
    "jobs logs {failed}",
    "dead-letters list",
    "dead-letters list --letters",
    "dead-letters list --all --limit 1",
    "dead-letters show {letter}",
    "dead-letters orders",
    "dead-letters retry --where project=shop --preview",
    "dead-letters discard --where project=shop --reason no --preview",
    "approvals list",
    "approvals show {approval}",
    "effects list",
    "effects list --run {failed} --status intended",
    "artifacts list",
    "artifacts list --run {failed}",
    "audit list",
    "keys list",
    "runs cancel --where project=shop --preview",
    "runs retry --since 2h --preview",
    "run service --set service_name=orders --set size=3 --dry-run",
    # and what is not there, or is asked for in a wrong way
    "runs show run-none",
    "runs watch run-none",
    "jobs show {failed} mak",
    "dead-letters show letter-none",
    "approvals show appr-none",
    "artifacts get art-none",
    "effects list --run run-none",
    "templates show servic",
    "runs list --where status=Faild",
    "runs list --cursor nonsense",
    "run service --set service_name=ORDERS --dry-run",
    "run servic --dry-run",
    "memory forget",
    "memory forget --run {failed}",
    "memory forget --run run-none --yes",
    "memory forget --run {failed} --project shop --yes",
    "memory forget --project nowhere --yes",
    "memory forget --everything --yes",
    "memory forget --everything --tenant acme",
)


@pytest.mark.parametrize("line", READING)
def test_a_page_is_the_same_here_and_by_the_api(far: Far, line: str):
    laid = far.laid
    words = line.format(
        failed=laid.failed,
        waiting=laid.waiting,
        letter=laid.letter.id,
        approval=laid.approval.id,
        artifact=laid.artifact.id,
    ).split()
    for more in ([], ["--json"]):
        near, by_api = far.here(*words, *more), far.typed(*words, *more)
        # Of a tenant that is not this home's own, commands say whose they are; a key says it too.
        there = near.out.replace(" --tenant acme", "")
        assert (by_api.out, by_api.err, by_api.code) == (there, near.err, near.code)


def test_templates_are_listed_and_shown_without_where_they_lie(far: Far):
    rows = [far.here("templates", "list", "--json"), far.typed("templates", "list", "--json")]
    near, by_api = ({one["id"]: one for one in said.json["templates"]} for said in rows)
    assert by_api.keys() == near.keys()
    assert by_api["service"] == {**near["service"], "origin": ""}
    near_page, page = (say("templates", "show", "service").out for say in (far.here, far.typed))
    told = [line for line in near_page.splitlines() if not line.startswith("folder")]
    assert [line.split() for line in page.splitlines()] == [line.split() for line in told]


@pytest.mark.parametrize(
    "options",
    [
        "--project shop",
        "--kind run --outcome succeeded --since 99999d",
        "--where outcome='succeeded' --limit 1",
        "--collection templates",
        "--where tenant='acme'",
        "--where ''",
        "--since yesterday",
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_remembered_is_found(far: Far, options: str, more: list[str]):
    search = ("memory", "search", "orders", *shlex.split(options, posix=False), *more)
    near, by_api = far.here(*search), far.typed(*search)
    assert (by_api.out, by_api.code) == (near.out, near.code)
    assert ("mem-1" in near.out, near.code) in {(True, 0), (False, 0), (False, 2)}


def test_a_context_package_is_the_same_here_and_by_the_api(far: Far):
    asked = ("memory", "context", "add a queue to orders", "--budget", "500", "--json")
    near, by_api = far.here(*asked), far.typed(*asked)
    assert (near.code, by_api.out) == (0, near.out)
    package = near.json["context_package_id"]
    assert far.typed("memory", "context", "--package", package, "--json").out == near.out
    page = far.typed("memory", "context", "--package", package).out
    assert "[1] orders\norders service\n(run, score " in page
    assert f"{package}: 1 memory, " in page
    for words, code in (
        (("--package", "ctx-none"), 3),
        ((), 2),
        (("orders", "--package", package), 2),
        (("orders", "--budget", "1"), 2),
        (("orders", "--ttl", "2d"), 2),
        (("orders", "--ttl", "soon"), 2),
    ):
        both = [say("memory", "context", *words) for say in (far.here, far.typed)]
        assert [said.code for said in both] == [code, code], words


def test_a_query_of_any_length_is_looked_for_by_the_api_too(far: Far):
    assert "mem-1" in far.typed("memory", "search", "orders " * 10_000).out
    assert far.typed("memory", "search", " ").code == far.here("memory", "search", " ").code == 2


def test_what_was_learned_is_forgotten(far: Far):
    for project, say in (("known-here", far.here), ("known-there", far.typed)):
        run_id = far.run(projectId=project)
        runs = (run_id, "run-before", "run-before")
        known = [
            a_memory(id=f"mem-{project}-{number}", run_id=run, project_id=project)
            for number, run in enumerate(runs)
        ]
        with far.site.store.begin("acme") as tx:
            tx.save_memories(known)
        page = say("memory", "forget", "--run", run_id, "--yes").out
        told = say("memory", "forget", "--project", project, "--yes", "--json")
        assert page.splitlines()[0] == f"forgot 1 memory of run {run_id}"
        # On the stores the command takes it out of the index too; by the API, whoever does it there.
        follows = say == far.typed
        assert told.json == {
            "erased": {"scope": "project", "key": project, "memories": 2, "changed": 0},
            "index_follows": follows,
        }
        assert ("the next sweep" in page) is follows
        with far.site.store.begin("acme", read_only=True) as tx:
            assert tx.find_memories([memory.id for memory in known]) == ()


def test_who_has_everything_forgotten_names_the_credential_s_tenant(far: Far):
    for tenant in ("acme", "umbrella"):
        with far.site.store.begin(tenant) as tx:
            tx.save_memories([a_memory(id=f"mem-of-{tenant}", tenant_id=tenant)])
    words, key = ("memory", "forget", "--everything", "--yes"), far.site.token(me("umbrella"))
    refused = far.typed(*words, "--tenant", "acme", key=key)
    assert (refused.code, "'acme' is not" in refused.err) == (2, True)
    told = far.typed(*words, "--tenant", "umbrella", key=key)
    assert (told.code, told.out.splitlines()[0]) == (0, "forgot 1 memory of tenant umbrella")
    left = {"acme": 1, "umbrella": 0}
    for tenant, count in left.items():
        with far.site.store.begin(tenant, read_only=True) as tx:
            assert len(tx.find_memories([f"mem-of-{tenant}"])) == count


def test_an_artifact_is_got_and_must_match_its_digest(far: Far, tmp_path: Path):
    artifact, file = far.laid.artifact, tmp_path / "orders.md"
    assert far.typed("artifacts", "get", artifact.id).out == TEXT.decode()
    told = far.typed("artifacts", "get", artifact.id, "--output", str(file))
    assert (told.code, file.read_bytes()) == (0, TEXT)
    assert "verified" in told.out
    # What arrives is looked at here too: a proxy on the way may have changed it.
    wrong = replace(artifact, sha256="0" * 64)
    with FactoryClient(Target(far.url, far.key)) as client:
        desk = RemoteDesk(client, "default")
        with pytest.raises(CorruptArtifactError), desk.body_of(wrong):
            pass


# --- runs that are asked for


def test_a_run_is_asked_for_and_seen_through(far: Far):
    far.at_work(lambda run_id: far.end(run_id, RunStatus.FAILED, "no host"))
    told = far.typed("run", "service", *MAKES, "--set", "size=3")
    run_id = told.out.split()[0]
    assert told.code == 1
    assert f"{run_id} Failed" in told.out
    assert "no host" in told.out
    assert far.site.stands("acme", run_id).inputs.inline == {"service_name": "orders", "size": 3}
    assert far.site.stands("acme", run_id).requested_by == person()
    again = far.typed("runs", "watch", run_id)
    assert (again.code, f"{run_id} Failed" in again.out) == (1, True)


def test_a_run_ends_as_one_document_with_json(far: Far):
    far.at_work(lambda run_id: far.end(run_id, RunStatus.CANCELLED, "enough"))
    told = far.typed("run", "service", *MAKES, "--json")
    assert (told.code, told.json["run"]["status"]) == (1, "Cancelled")
    lines = far.typed("runs", "watch", told.json["run"]["id"], "--json").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines].count("run") >= 1


def test_inputs_come_from_a_file_and_the_same_key_is_the_same_run(far: Far, tmp_path: Path):
    file = tmp_path / "inputs.yaml"
    file.write_text("service_name: orders\n")
    words = ("run", "service", "--inputs", str(file), "--idempotency-key", "once", "--json")
    far.at_work(lambda run_id: far.end(run_id, RunStatus.FAILED, "no host"))
    first, second = far.typed(*words), far.typed(*words)
    assert first.json["run"]["id"] == second.json["run"]["id"]


def test_a_lost_answer_asks_for_no_second_run(far: Far):
    asked: list[str] = []

    def lose_the_first(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("Idempotency-Key", ""))
        answer = through.handle_request(request)
        answer.read()
        if len(asked) == 1:
            raise httpx.ReadError("lost", request=request)
        return answer

    with httpx.HTTPTransport() as through:
        lossy = httpx.MockTransport(lose_the_first)
        with FactoryClient(Target(far.url, far.key), lossy) as client:
            desk = RemoteDesk(client, "default")
            request = RunRequest("acme", "default", "service", {"service_name": "lost"}, "ada")
            run = desk.request(request)
    assert asked[0] == asked[1] != ""
    with far.site.store.begin("acme", read_only=True) as tx:
        found = tx.list_runs(RunFilter(text="lost")).items
    assert [one.id for one in found] == [run.id]


@pytest.mark.parametrize("words", [("run", "service", *MAKES), ("runs", "watch")])
def test_ctrl_c_ends_the_watching_alone(
    far: Far, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.follow.time", SimpleNamespace(sleep=interrupted))
    given = words if words[0] == "run" else (*words, far.run())
    told = far.typed(*given)
    run_id = given[-1] if words[0] == "runs" else told.out.split()[0]
    assert (told.code, "no longer watched" in told.out) == (1, True)
    assert "interrupted" in told.err
    assert far.status(run_id) is RunStatus.VALIDATED


# --- steering


def test_a_run_is_put_aside_resumed_and_cancelled(far: Far):
    run_id = far.run()
    assert "held" in far.typed("runs", "pause", run_id, "--wait").out
    assert far.typed("runs", "resume", run_id).code == 0
    assert far.typed("runs", "cancel", run_id, "--wait").code == 0
    assert far.status(run_id) is RunStatus.CANCELLED
    assert far.typed("runs", "cancel", run_id) == far.here("runs", "cancel", run_id)


def test_a_failed_run_goes_round_with_other_inputs(far: Far):
    laid = lay_out(far.site, "round")
    told = far.typed("runs", "retry", laid.failed, "--set", "size=3", "--json")
    assert (told.code, told.json["runs"][0]["run"]["cycle"]) == (0, 1)
    stands = far.site.stands("acme", laid.failed)
    assert stands.inputs.inline == {"service_name": "orders", "size": 3}


def test_one_job_goes_round(far: Far):
    laid = lay_out(far.site, "job")
    assert far.typed("jobs", "retry", laid.failed, "make").code == 0
    assert far.site.stands("acme", laid.failed).cycle == 1


def test_what_a_run_did_is_undone(far: Far):
    laid = lay_out(far.site, "undo")
    near = far.here("runs", "undo", laid.waiting)
    by_api = far.typed("runs", "undo", laid.waiting)
    assert (by_api.code, by_api.err) == (near.code, near.err)
    assert far.typed("runs", "undo", laid.failed).code == far.here("runs", "undo", laid.failed).code


def test_many_runs_are_cancelled_and_told_of_one_by_one(far: Far):
    ids = {far.run(projectId="many") for _ in range(3)}
    words = ("runs", "cancel", "--where", "project=many")
    assert far.typed(*words).code == 2, "nobody is there to be asked"
    told = far.typed(*words, "--yes", "--json").json
    assert ({one["run_id"] for one in told["runs"]}, told["done"]) == (ids, 3)
    assert {far.status(run_id) for run_id in ids} == {RunStatus.CANCELLED}


def test_many_failed_runs_go_round(far: Far):
    laid = [lay_out(far.site, "rounds") for _ in range(2)]
    told = far.typed("runs", "retry", "--where", "project=rounds", "--yes")
    assert "2 of 2 runs retried" in told.out
    assert {far.site.stands("acme", one.failed).cycle for one in laid} == {1}


def test_letters_go_round_and_are_discarded(far: Far):
    first, second, third = (lay_out(far.site, "letters") for _ in range(3))
    assert far.typed("dead-letters", "retry", first.letter.id).code == 0
    assert far.site.stands("acme", first.failed).cycle == 1
    reason = ("--reason", "nobody wants it")
    assert "discarded" in far.typed("dead-letters", "discard", second.letter.id, *reason).out
    chosen = ("--where", "project=letters", "--yes")
    assert "1 discarded" in far.typed("dead-letters", "discard", *chosen, *reason).out
    assert far.typed("dead-letters", "discard", third.letter.id, *reason).code == 0, "as it was"
    assert far.typed("dead-letters", "discard", third.letter.id, "--reason", "late").code == 4


def test_an_order_is_given_and_stopped(far: Far):
    laid = lay_out(far.site, "order")
    kind = laid.letter.fingerprint[:8]
    words = ("--fingerprint", kind, "--where", "project=order", "--canary", "--yes", "--json")
    order = far.typed("dead-letters", "retry", *words).json["order"]
    assert (order["status"], order["canary_id"]) == ("canary", laid.letter.id)
    told = far.typed("dead-letters", "stop", order["id"], "--reason", "enough", "--json").json
    assert told["order"]["status"] == "stopped"


def test_an_approval_is_granted_once_and_another_denied(far: Far):
    laid, other = lay_out(far.site, "votes"), lay_out(far.site, "votes")
    assert far.typed("approvals", "grant", laid.approval.id).code == 4, "they are not asked"
    grace = far.site.token(somebody(name="grace"))
    told = far.typed("approvals", "grant", laid.approval.id, "--comment", "fine", key=grace)
    assert (told.code, "granted by grace" in told.out) == (0, True)
    again = far.typed("approvals", "grant", laid.approval.id, "--comment", "fine", key=grace)
    assert (again.code, "nothing was changed" in again.out) == (0, True)
    assert far.typed("approvals", "deny", other.approval.id, "--comment", "no", key=grace).code == 0
    shown = far.typed("approvals", "show", other.approval.id, "--json").json
    assert [vote["comment"] for vote in shown["votes"]] == ["no"]


def test_keys_are_given_rotated_and_revoked(far: Far):
    made = far.typed("keys", "add", "bot", "--role", "viewer", "--expires", "90d", "--json").json
    listed = far.typed("keys", "list", "--json")
    assert listed.out == far.here("keys", "list", "--json").out
    fresh = far.typed("keys", "rotate", made["id"], "--overlap", "0s", "--json").json
    assert fresh["replaces"] == made["id"]
    assert far.typed("keys", "revoke", fresh["id"]).code == 0
    assert "revoked" in far.typed("keys", "list", "--all").out


def test_sources_and_callbacks_are_added_listed_and_ended(far: Far):
    made = far.typed("webhooks", "add", "hooks", "--kind", "github", "--json").json
    assert len(made["secret"]) > 16
    rotated = far.typed("webhooks", "rotate", "hooks", "--overlap", "0s", "--json").json
    assert rotated["secret"] != made["secret"]
    told = far.typed("callbacks", "add", "https://192.0.2.1/ends", "--status", "Failed", "--json")
    for line in ("webhooks list", "callbacks list", "webhooks deliveries"):
        for more in ((), ("--json",)):
            near = far.here(*line.split(), *more)
            assert far.typed(*line.split(), *more) == near, line
    assert far.typed("webhooks", "disable", "hooks").code == 0
    assert far.typed("callbacks", "remove", told.json["id"]).code == 0
    assert far.typed("webhooks", "disable", "nobody") == far.here("webhooks", "disable", "nobody")


# --- what goes wrong


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
