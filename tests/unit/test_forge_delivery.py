"""The forge of the tests has the pipelines, builds, work items and hooks of Azure DevOps."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from tests.forge import Forge

V = {"api-version": "7.1"}
YAML = "parameters:\n- name: effect\n  type: string\n  default: ''\nsteps:\n- script: make check\n"


@pytest.fixture
def forge(forge: Forge) -> Forge:
    forge.add_repository("shop", "orders")
    forge.push("shop", "orders", {"azure-pipelines.yml": YAML})
    return forge


@pytest.fixture
def api(forge: Forge) -> Generator[httpx.Client]:
    with httpx.Client(
        base_url=f"{forge.url}/shop/_apis",
        auth=("", forge.add_token()),
        params=V,
        trust_env=False,
    ) as opened:
        yield opened


def sent(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def pipeline(api: httpx.Client, forge: Forge, name: str = "orders") -> dict[str, Any]:
    repository = {"id": forge.repository("shop", "orders").id, "type": "azureReposGit"}
    configuration = {"type": "yaml", "path": "/azure-pipelines.yml", "repository": repository}
    body = {"name": name, "folder": "factory/acme", "configuration": configuration}
    return sent(api.post("/pipelines", json=body))


def test_two_posts_queue_two_builds_and_each_ends_as_the_test_says(
    forge: Forge, api: httpx.Client
) -> None:
    made = pipeline(api, forge)
    order = {"definition": {"id": made["id"]}, "templateParameters": {"effect": "run-1:build"}}
    first = sent(api.post("/build/builds", json=order))
    second = sent(api.post("/build/builds", json=order))
    assert first["id"] != second["id"]
    assert [first["status"], first["templateParameters"]] == [
        "notStarted",
        order["templateParameters"],
    ]
    forge.start_build(first["id"])
    assert sent(api.get(f"/build/builds/{first['id']}"))["status"] == "inProgress"
    forge.finish_build(first["id"], "failed", log="one\ntwo\nthree")
    told = sent(api.get(f"/build/builds/{first['id']}"))
    assert (told["status"], told["result"]) == ("completed", "failed")
    (log,) = sent(api.get(f"/build/builds/{first['id']}/logs"))["value"]
    text = api.get(log["url"], headers={"Accept": "text/plain"}, params=V | {"startLine": 2})
    assert (log["lineCount"], text.text) == (3, "two\r\nthree\r\n")
    sent(api.put(f"/build/builds/{second['id']}/tags/run-1:build"))
    tagged = sent(api.get("/build/builds", params=V | {"tagFilters": "run-1:build"}))["value"]
    assert [one["id"] for one in tagged] == [second["id"]]
    stopped = sent(api.patch(f"/build/builds/{second['id']}", json={"status": "cancelling"}))
    assert stopped["result"] == "canceled"


def test_a_run_is_a_build(forge: Forge, api: httpx.Client) -> None:
    made = pipeline(api, forge)
    forge.finish_builds_at_once()
    body = {"resources": {"repositories": {"self": {"refName": "refs/heads/main"}}}}
    run = sent(api.post(f"/pipelines/{made['id']}/runs", json=body))
    assert (run["state"], run["result"]) == ("completed", "succeeded")
    assert sent(api.get(f"/build/builds/{run['id']}"))["definition"]["id"] == made["id"]
    assert sent(api.get(f"/pipelines/{made['id']}/runs/{run['id']}")) == run
    assert sent(api.get(f"/pipelines/{made['id']}/runs"))["count"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"templateParameters": {"colour": "red"}}, "Unexpected parameter 'colour'"),
        ({"parameters": json.dumps({"effect": "x"})}, "You can't set the following variables"),
        ({"sourceBranch": "refs/heads/none"}, "Could not find the branch"),
    ],
)
def test_a_build_that_cannot_be_is_refused(
    forge: Forge, api: httpx.Client, changes: dict[str, Any], said: str
) -> None:
    order = {"definition": {"id": pipeline(api, forge)["id"]}, **changes}
    assert said in sent(api.post("/build/builds", json=order), 400)["message"]
    assert forge.builds("shop") == []


def test_a_pipeline_is_a_definition_and_its_name_is_taken_in_its_folder(
    forge: Forge, api: httpx.Client
) -> None:
    made = pipeline(api, forge)
    assert made["folder"] == "\\factory\\acme"
    with pytest.raises(AssertionError, match="already exists"):
        pipeline(api, forge, "Orders")
    (found,) = sent(api.get("/build/definitions", params=V | {"name": "ord*"}))["value"]
    assert found["id"] == made["id"]
    told = sent(api.get(f"/build/definitions/{made['id']}"))
    assert told["process"] == {"type": 2, "yamlFilename": "azure-pipelines.yml"}
    sent(api.put(f"/build/definitions/{made['id']}/tags/ours"), 400)
    preview = {"api-version": "7.1-preview.3"}
    assert sent(api.put(f"/build/definitions/{made['id']}/tags/ours", params=preview))["value"] == [
        "ours"
    ]
    repository = {"id": told["repository"]["id"], "type": "TfsGit"}
    order = {
        "name": "again",
        "repository": repository,
        "process": told["process"],
        "description": "Ours",
        "variables": {"effect": {"value": "", "allowOverride": True}},
    }
    again = sent(api.post("/build/definitions", json=order))
    queued = {"definition": {"id": again["id"]}, "parameters": json.dumps({"effect": "run-1"})}
    assert json.loads(sent(api.post("/build/builds", json=queued))["parameters"]) == {
        "effect": "run-1"
    }
    page = api.get("/pipelines", params=V | {"$top": 1})
    rest = V | {"continuationToken": page.headers["x-ms-continuationtoken"]}
    names = [
        one["name"]
        for told in (page, api.get("/pipelines", params=rest))
        for one in told.json()["value"]
    ]
    assert names == ["again", "orders"]


def item(api: httpx.Client, *more: dict[str, Any], status: int = 200) -> Any:
    patch = [{"op": "add", "path": "/fields/System.Title", "value": "Orders"}, *more]
    headers = {"Content-Type": "application/json-patch+json"}
    return sent(
        api.post("/wit/workitems/$Task", content=json.dumps(patch), headers=headers), status
    )


def test_two_posts_make_two_work_items_that_queries_find_by_their_tags(
    forge: Forge, api: httpx.Client
) -> None:
    tag = {"op": "add", "path": "/fields/System.Tags", "value": "factory; run-1:track"}
    made = [item(api, tag)["id"], item(api, tag)["id"]]
    item(api)
    query = (
        "SELECT [System.Id] FROM WorkItems WHERE [System.TeamProject] = @project "
        "AND [System.Tags] CONTAINS 'run-1:track' ORDER BY [System.Id]"
    )
    found = sent(api.post("/wit/wiql", json={"query": query}))["workItems"]
    assert [one["id"] for one in found] == made
    assert api.post("/wit/wiql", json={"query": "SELECT x"}).status_code == 501
    assert sent(api.post("/wit/workitems/$Task", json=[tag]), 415)
    assert len(forge.wrong) == 1
    forge.wrong.clear()


def test_a_work_item_is_linked_once(forge: Forge, api: httpx.Client) -> None:
    def link(url: str, name: str) -> dict[str, Any]:
        value = {"rel": "ArtifactLink", "url": url, "attributes": {"name": name}}
        return {"op": "add", "path": "/relations/-", "value": value}

    commit = link("vstfs:///Git/Commit/p%2Fr%2Fc", "Fixed in Commit")
    made = item(api, commit)
    headers = {"Content-Type": "application/json-patch+json"}
    again = api.patch(f"/wit/workitems/{made['id']}", content=json.dumps([commit]), headers=headers)
    assert sent(again, 400)["typeKey"] == "RelationAlreadyExistsException"
    assert "Unrecognized" in item(api, link("https://a.example", "Build"), status=400)["message"]
    assert "relations" not in sent(api.get(f"/wit/workitems/{made['id']}"))
    shown = sent(api.get(f"/wit/workitems/{made['id']}", params=V | {"$expand": "relations"}))
    assert [one["url"] for one in shown["relations"]] == [commit["value"]["url"]]


def test_a_pull_request_is_opened_once_for_its_branches_and_merged_by_people(
    forge: Forge, api: httpx.Client
) -> None:
    forge.protect("shop")
    forge.repository("shop", "orders").git("branch", "topic", "main")
    forge.push("shop", "orders", {"a": "1\n"}, "topic")
    at = "/git/repositories/orders/pullrequests"
    body = {
        "sourceRefName": "refs/heads/topic",
        "targetRefName": "refs/heads/main",
        "title": "Orders",
        "description": "x" * 401,
        "labels": [{"name": "factory"}],
        "workItemRefs": [{"id": str(item(api)["id"])}],
    }
    made = sent(api.post(at, json=body), 201)
    assert sent(api.post(at, json=body), 409)["message"].startswith("TF401179")
    source = {"searchCriteria.sourceRefName": "refs/heads/topic", "searchCriteria.status": "all"}
    (listed,) = sent(api.get(at, params=V | source))["value"]
    assert (len(listed["description"]), len(made["description"])) == (400, 401)
    (tracked,) = sent(api.get(f"{at}/{made['pullRequestId']}/workitems"))["value"]
    linked = sent(api.get(tracked["url"], params=V | {"$expand": "relations"}))["relations"]
    assert [one["url"] for one in linked] == [made["artifactId"]]
    done = {"status": "completed", "lastMergeSourceCommit": made["lastMergeSourceCommit"]}
    number = made["pullRequestId"]
    assert sent(api.patch(f"{at}/{number}", json=done), 409)["typeKey"].endswith(
        "ByPolicyException"
    )
    (policy,) = sent(
        api.get("/git/policy/configurations", params=V | {"refName": "refs/heads/main"})
    )["value"]
    assert policy["isBlocking"]
    forge.complete_pull_request(number, "squash")
    merged = sent(api.get(f"/git/pullrequests/{number}"))
    assert merged["status"] == "completed"
    repo = forge.repository("shop", "orders")
    assert repo.git("show", "main:a") == "1"
    assert merged["lastMergeCommit"]["commitId"] == repo.refs()["refs/heads/main"]
    assert sent(api.get(at))["value"] == []


def test_hooks_are_listed_with_their_secrets_masked(forge: Forge, api: httpx.Client) -> None:
    url = f"{forge.url}/_apis/hooks/subscriptions"
    body = {
        "publisherId": "tfs",
        "eventType": "build.complete",
        "consumerId": "webHooks",
        "consumerActionId": "httpRequest",
        "publisherInputs": {"projectId": forge.world.projects[0].id},
        "consumerInputs": {"url": "https://factory.example/hook", "basicAuthPassword": "canary"},
    }
    made = [sent(api.post(url, json=body)) for _ in range(2)]
    told = api.get(url, params=V | {"eventType": "build.complete"})
    assert [one["id"] for one in told.json()["value"]] == [one["id"] for one in made]
    assert "canary" not in told.text
    assert api.delete(f"{url}/{made[0]['id']}").status_code == 204
    assert len(forge.hooks()) == 1


def test_who_asks_is_told_as_a_preview(forge: Forge, api: httpx.Client) -> None:
    url = f"{forge.url}/_apis/connectionData"
    assert api.get(url).status_code == 400
    told = sent(api.get(url, params={"api-version": "7.1-preview"}))
    assert told["authenticatedUser"]["providerDisplayName"] == "Ada"
