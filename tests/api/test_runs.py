"""Runs over HTTP: asked for, listed, looked at, steered."""

from __future__ import annotations

import json

import pytest

from factory_runtime.domain.access import Role
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.domain.run import RunStatus
from tests.api.site import ApiSite, somebody

RUNS = "/api/v1/runs"


def test_a_run_is_committed_when_it_is_accepted(site: ApiSite):
    client = site.client(somebody())
    answer = client.post(
        RUNS,
        json={
            "templateRecipeId": "service",
            "projectId": "shop",
            "inputs": {"service_name": "orders"},
            "priority": "high",
            "deadline": "2h",
        },
    )
    told = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{RUNS}/{told['runId']}"
    run = site.stands("acme", told["runId"])
    assert run.status is RunStatus.VALIDATED
    assert (told["templateRecipeId"], told["requestedBy"], told["status"]) == (
        "service",
        "ada",
        "Validated",
    )
    detail = client.get(answer.headers["location"]).json()
    assert detail["inputs"] == {"service_name": "orders"}
    jobs = client.get(f"{RUNS}/{run.id}/jobs").json()["items"]
    assert [(job["step"], job["status"]) for job in jobs] == [
        ("make", "Pending"),
        ("check", "Pending"),
    ]


def test_all_that_is_wrong_with_the_inputs_is_told_and_recorded(site: ApiSite):
    client = site.client(somebody())
    asked = {"templateRecipeId": "service", "inputs": {"service_name": "X", "size": 0}}
    answer = client.post(RUNS, json=asked)
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:factory-runtime:problem:invalid-inputs"
    assert len(problem["errors"]) == 2
    assert site.stands("acme", problem["runId"]).status is RunStatus.FAILED


def test_the_same_key_and_body_give_the_same_run_and_another_body_a_conflict(site: ApiSite):
    client = site.client(somebody())
    asked = {"templateRecipeId": "service", "inputs": {"service_name": "orders"}}
    first, second = (
        client.post(RUNS, json=asked, headers={"Idempotency-Key": "k1"}) for _ in range(2)
    )
    assert first.json()["runId"] == second.json()["runId"]
    other = asked | {"inputs": {"service_name": "other"}}
    third = client.post(RUNS, json=other, headers={"Idempotency-Key": "k1"})
    assert third.status_code == 409
    assert third.json()["type"].endswith("request-conflict")


def test_runs_are_listed_in_parts_by_what_they_are(site: ApiSite):
    client = site.client(somebody())
    asked = [site.run(client, projectId=project) for project in ("shop", "shop", "mill", "shop")]
    seen: list[str] = []
    more: dict[str, str] = {}
    while True:
        part = client.get(RUNS, params={"project": "shop", "limit": "2"} | more).json()
        seen += [run["runId"] for run in part["items"]]
        if part["nextCursor"] is None:
            break
        more = {"cursor": part["nextCursor"]}
    assert seen == [asked[3], asked[1], asked[0]]
    assert client.get(RUNS, params={"cursor": "nonsense"}).status_code == 422
    assert client.get(RUNS, params={"colour": "red"}).status_code == 422


def test_somebody_of_one_project_sees_and_steers_that_one_alone(site: ApiSite):
    admin = site.client(somebody())
    shop, mill = site.run(admin, projectId="shop"), site.run(admin, projectId="mill")
    operator = site.client(somebody(role=Role.OPERATOR, project_id="shop", name="bob"))
    assert [run["runId"] for run in operator.get(RUNS).json()["items"]] == [shop]
    foreign = operator.get(f"{RUNS}/{mill}")
    unknown = operator.get(f"{RUNS}/run-of-nobody")
    assert foreign.status_code == unknown.status_code == 404
    assert operator.post(f"{RUNS}/{mill}/cancel").status_code == 404
    assert operator.post(f"{RUNS}/actions/cancel").json()["done"] == 1
    assert site.stands("acme", shop).status is RunStatus.CANCELLED
    assert site.stands("acme", mill).status is RunStatus.VALIDATED


def test_who_may_only_look_changes_nothing(site: ApiSite):
    run = site.run(site.client(somebody()))
    viewer = site.client(somebody(role=Role.VIEWER))
    for path in (f"{RUNS}/{run}/cancel", f"{RUNS}/{run}/retry", RUNS):
        answer = viewer.post(path, json={"templateRecipeId": "service"})
        assert answer.status_code == 403, path
        assert "roles" in answer.json()["hint"]


def test_a_requester_stops_their_own_run_and_nobody_else_s(site: ApiSite):
    ada = site.client(somebody(role=Role.REQUESTER))
    bob = site.client(somebody(role=Role.REQUESTER, name="bob"))
    run = site.run(ada)
    assert bob.post(f"{RUNS}/{run}/cancel").status_code == 403
    assert ada.post(f"{RUNS}/{run}/pause").json()["status"] == "Validated"
    assert ada.post(f"{RUNS}/{run}/cancel").json()["status"] == "Cancelled"
    assert ada.post(f"{RUNS}/{run}/pause").status_code == 409


def test_a_bulk_cancel_does_what_its_preview_counted_or_nothing(site: ApiSite):
    client = site.client(somebody())
    for project in ("shop", "shop", "mill"):
        site.run(client, projectId=project)
    where = {"project": "shop"}
    assert client.get(f"{RUNS}/actions/cancel", params=where).json() == {"count": 2}
    wrong = client.post(f"{RUNS}/actions/cancel", params=where, json={"expectedCount": 3})
    assert wrong.status_code == 409
    done = client.post(f"{RUNS}/actions/cancel", params=where, json={"expectedCount": 2}).json()
    assert (done["count"], done["done"], done["left"], done["refused"]) == (2, 2, 0, [])


def test_a_run_s_history_is_streamed_until_it_has_ended(site: ApiSite):
    client = site.client(somebody())
    run = site.run(client)
    client.post(f"{RUNS}/{run}/cancel")
    events = client.get(f"{RUNS}/{run}/events").json()["items"]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    with client.stream("GET", f"{RUNS}/{run}/events", headers=headers) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith(("id:", "event:"))]
        assert answer.headers["content-type"].startswith("text/event-stream")
    numbers = [int(line[3:]) for line in lines if line.startswith("id:")]
    assert numbers == [event["sequence"] for event in events if event["sequence"] > 1]
    assert lines[-1] == "event: end"


def test_no_stream_says_that_a_run_has_ended_which_it_cannot_look_at(
    small_site: ApiSite, monkeypatch: pytest.MonkeyPatch
):
    client = small_site.client(somebody())
    run = small_site.run(client)

    def away(*_: object) -> None:
        raise StoreUnavailableError("away")

    monkeypatch.setattr("api.streams.visible_run", away)
    said = client.get(f"{RUNS}/{run}/events", headers={"Accept": "text/event-stream"}).text
    assert said == "retry: 1000\n\n"


def test_nobody_gets_nothing(small_site: ApiSite):
    client = small_site.client()
    answer = client.get(RUNS)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_body_that_is_no_json_or_has_what_is_not_known_is_refused(small_site: ApiSite):
    client = small_site.client(somebody())
    json_type = {"Content-Type": "application/json"}
    assert client.post(RUNS, content=b"{", headers=json_type).status_code == 400
    answer = client.post(RUNS, json={"templateRecipeId": "service", "tenantId": "other"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/tenantId"
    assert json.loads(answer.text)["status"] == 422
