"""Azure DevOps: what a hook says is a hint, and what the organisation says is the event.

There is no organisation to be had here: a server on the loopback answers as the REST API's
documentation has it (``payloads/README.md``).
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.ports import RunStore
from tests.api.hooks import HOOKS, Sender, a_sender, answering, changed, payload
from tests.api.site import ApiSite, somebody
from tests.data_server import DataServer, data_server

PUSH = payload("azure-git-push")
TOKEN = "a-token-of-theirs"  # noqa: S105 - of a test
PROJECT = "be9b3917-87e6-42a4-a549-2bc06a7a878f"
RESOURCE = (
    f"/fabrikam/{PROJECT}/_apis/git/repositories/278d5cd2-584d-4b63-824a-2ba458937249/pushes/14"
)


@pytest.fixture(scope="module")
def organisation() -> Any:
    with data_server() as server:
        server.serves(RESOURCE, payload("azure-push"))
        yield server


@pytest.fixture
def site(
    tmp_path: Path, sqlite_url: str, sqlite_store: RunStore, organisation: DataServer
) -> ApiSite:
    return ApiSite(tmp_path, sqlite_url, sqlite_store, callback_hosts=(organisation.host,))


def hook_of(site: ApiSite, organisation: DataServer) -> Sender:
    base = f"http://{organisation.host}/fabrikam"
    return a_sender(site, "azure-devops", baseUrl=base, token=TOKEN)


def decided(site: ApiSite, delivery: str) -> Any:
    site.runtime.deliveries.send_due(timedelta(seconds=20))
    items = site.client(somebody()).get(f"{HOOKS}/deliveries").json()["items"]
    return next(one for one in items if one["id"] == delivery)


def test_the_event_is_what_the_organisation_says(site: ApiSite, organisation: DataServer):
    sender = hook_of(site, organisation)
    when = "${{ event.type == 'git.push' and event.resource.commits[0].comment == 'Home page' }}"
    answering(site, "greet", "azure-devops", when, "push-${{ event.resource.pushId }}")
    told = sender.send(PUSH)
    assert (told.status_code, told.json()["status"]) == (202, "received")
    delivery = decided(site, told.json()["id"])
    run = site.stands("acme", delivery["matched"][0]["runId"])
    assert run.inputs.inline == {"service_name": "push-14"}
    assert run.delivery_id == "03c164c2-8912-4d5e-8009-3707d5f83734"
    path, headers = organisation.asked[-1]
    pair = base64.b64encode(f":{TOKEN}".encode()).decode()
    assert (path, headers["Authorization"]) == (f"{RESOURCE}?api-version=7.1", f"Basic {pair}")
    assert TOKEN not in site.client(somebody()).get(HOOKS).text


def test_a_host_that_the_body_names_is_never_asked(site: ApiSite, organisation: DataServer):
    sender = hook_of(site, organisation)
    body = json.loads(payload("azure-build-complete"))
    before = len(organisation.asked)
    evil = f"http://{organisation.host}/evil"
    for number, url in enumerate(
        (
            f"{evil}/_apis/../../secret",
            f"{evil}/_apis/build/%2e%2e/secret",
            f"{evil}@host/_apis?x=/_apis/build/Builds/2",
            f"{evil}/nothing",
            "http://[",
            7,
        )
    ):
        body["resource"]["url"] = url
        told = sender.send(changed(PUSH, id=f"hint-{number}", resource=body["resource"])).json()
        delivery = decided(site, told["id"])
        assert (delivery["status"], delivery["matched"]) == ("failed", []), url
    assert len(organisation.asked) == before
    elsewhere = changed(PUSH, id="elsewhere", resource={"url": f"{evil}/_apis/build/Builds/2"})
    delivery = decided(site, sender.send(elsewhere).json()["id"])
    assert organisation.paths()[-1].startswith(f"/fabrikam/{PROJECT}/_apis/build/Builds/2?")
    assert (delivery["status"], "404" in delivery["error"]) == ("failed", True)


def test_who_does_not_know_the_password_hints_at_nothing(site: ApiSite, organisation: DataServer):
    sender = hook_of(site, organisation)
    good = sender.headers(PUSH)
    for authorization in ("", "Basic !", "Basic aG9vazpndWVzcw==", good["Authorization"][:-4]):
        wrong = sender.send(PUSH, good | {"Authorization": authorization})
        assert wrong.status_code == 401, authorization
    named = a_sender(site, "azure-devops", "by-header", header="X-Secret", user="hook")
    json_type = {"Content-Type": "application/json"}
    assert named.send(PUSH, json_type | {"X-Secret": named.secret}).status_code == 202
    assert named.send(PUSH, json_type | {"X-Secret": sender.secret}).status_code == 401


def test_an_organisation_inside_is_not_asked_unless_it_is_listed(site: ApiSite):
    sender = a_sender(site, "azure-devops", baseUrl="https://localhost/fabrikam")
    delivery = decided(site, sender.send(PUSH).json()["id"])
    assert delivery["status"] == "failed"
    assert "private network" in delivery["error"]
