"""What commands have done by a Factory API, with a URL and a key."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from cli.desk.remote import RemoteDesk
from cli.person import person
from factory_runtime.client import FactoryClient, Target
from factory_runtime.domain.run import RunRequest, RunStatus
from factory_runtime.ports import RunFilter
from tests.api.laid_out import lay_out
from tests.api.site import somebody
from tests.far import MAKES, Far


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
