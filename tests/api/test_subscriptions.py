"""A source is subscribed at the tenant's git host, whose events then begin runs."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.access import Role
from factory_runtime.ports import Delivery, RunStore
from tests.api.hooks import HOOKS, a_sender, answering
from tests.api.served import Served
from tests.api.site import ApiSite, somebody
from tests.azure_offers import AzureOffered
from tests.contract.test_delivery import make_pipeline, queue
from tests.deliveries import OfferingGitHost
from tests.forge import Forge, running_forge

EVENT = "build.complete"
ASKED: dict[str, Any] = {"event": EVENT, "url": "https://factory.example.com"}


class _AzureHost(OfferingGitHost):
    """Only what it offers beside repositories is asked here."""

    def __init__(self, offer: Delivery) -> None:
        super().__init__()
        self._offer = offer

    def delivery_of(self, tenant_id: str) -> Delivery:
        return self._offer


@pytest.fixture
def forge(tmp_path: Path) -> Generator[Forge]:
    with running_forge(tmp_path / "forge") as running:
        yield running


@pytest.fixture
def offered(forge: Forge) -> AzureOffered:
    return AzureOffered(forge)


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, sqlite_store: RunStore, offered: AzureOffered) -> ApiSite:
    address = offered.forge.world.url.removeprefix("http://")
    made = ApiSite(tmp_path, sqlite_url, sqlite_store, callback_hosts=(address,))
    made.runtime.__dict__["host"] = _AzureHost(offered.delivery)
    return made


def a_source(site: ApiSite, offered: AzureOffered, **options: Any) -> str:
    forge = offered.forge
    given = {"baseUrl": forge.url, "token": forge.add_token(), **options}
    return a_sender(site, "azure-devops", "ado", **given).source_id


@pytest.mark.parametrize("options", [{}, {"header": "X-Secret"}], ids=["password", "header"])
def test_what_the_host_tells_begins_a_run(
    site: ApiSite, offered: AzureOffered, options: dict[str, str]
):
    source, forge = a_source(site, offered, **options), offered.forge
    when = "${{ event.type == 'build.complete' and event.resource.result == 'succeeded' }}"
    answering(site, "greet", "ado", when, "build-${{ event.resource.id }}")
    build = queue(offered, make_pipeline(offered))
    with Served(site.app()) as served:
        asked = site.client(somebody()).post(
            f"{HOOKS}/ado/subscribe", json={"event": EVENT, "url": served.url}
        )
        assert asked.status_code == 200, asked.text
        assert asked.json()["url"] == f"{served.url}{HOOKS}/{source}"
        forge.finish_build(int(build.id))
        assert forge.tell_of_build(int(build.id)) == [202]
    site.runtime.deliveries.send_due(timedelta(seconds=20))
    (delivery,) = site.client(somebody()).get(f"{HOOKS}/deliveries").json()["items"]
    assert delivery["status"] == "matched", delivery
    run = site.stands("acme", delivery["matched"][0]["runId"])
    assert run.inputs.inline == {"service_name": f"build-{build.id}"}


def test_a_source_is_subscribed_once_and_anew_with_another_secret(
    site: ApiSite, offered: AzureOffered
):
    a_source(site, offered)
    admin = site.client(somebody())
    offered.lose_next_answer("hook")
    assert admin.post(f"{HOOKS}/ado/subscribe", json=ASKED).status_code == 503
    made, again = (admin.post(f"{HOOKS}/ado/subscribe", json=ASKED).json() for _ in range(2))
    made.pop("traceId", None)
    again.pop("traceId", None)
    assert made == again
    assert offered.hooks() == [made["subscriptionId"]]
    other = admin.post(f"{HOOKS}/ado/subscribe", json={**ASKED, "repository": "orders"})
    assert len(offered.hooks()) == 2, other.text
    elsewhere = {**ASKED, "url": "https://elsewhere.example.com"}
    moved = admin.post(f"{HOOKS}/ado/subscribe", json=elsewhere).json()
    told = offered.forge.world.hooks[moved["subscriptionId"]]["consumerInputs"]["url"]
    assert told.startswith(moved["url"])
    assert moved["url"].startswith("https://elsewhere.example.com")
    admin.post(f"{HOOKS}/ado/rotate", json={})
    admin.post(f"{HOOKS}/ado/subscribe", json=ASKED)
    assert len(offered.hooks()) == 4
    inputs = [one["consumerInputs"] for one in offered.forge.hooks()]
    assert inputs[0]["basicAuthPassword"] != inputs[3]["basicAuthPassword"]
    noted = admin.get("/api/v1/audit").json()["items"]
    actions = [one["action"] for one in noted if one["action"].startswith("webhook.subscribe")]
    assert (actions.count("webhook.subscribe"), actions.count("webhook.subscribed")) == (6, 5)
    for one in inputs:
        assert one["basicAuthPassword"] not in str(noted)


def test_who_may_not_administer_both_projects_subscribes_nothing(
    site: ApiSite, offered: AzureOffered
):
    a_source(site, offered)
    elsewhere = {**ASKED, "projectId": "billing"}
    for who, asked in (
        (somebody(role=Role.OPERATOR), ASKED),
        (somebody(project_id="billing"), elsewhere),
        (somebody(project_id="shop"), elsewhere),
        (somebody("rival"), ASKED),
    ):
        answer = site.client(who).post(f"{HOOKS}/ado/subscribe", json=asked)
        assert answer.status_code in (403, 404), answer.text
    assert offered.hooks() == []


@pytest.mark.parametrize(
    "url",
    [
        "http://factory.example.com",
        "https://u@factory.example.com",
        "ftp://f",
        "https://f?x=1",
        "f",
    ],
)
def test_a_secret_is_sent_to_no_address_without_tls(site: ApiSite, offered: AzureOffered, url: str):
    a_source(site, offered)
    answer = site.client(somebody()).post(f"{HOOKS}/ado/subscribe", json={**ASKED, "url": url})
    assert (answer.status_code, offered.hooks()) == (422, []), answer.text


def test_the_host_is_told_of_the_public_address(site: ApiSite, offered: AzureOffered):
    source = a_source(site, offered)
    admin, nowhere = site.client(somebody()), {"event": EVENT}
    assert "FACTORY_PUBLIC_URL" in admin.post(f"{HOOKS}/ado/subscribe", json=nowhere).text
    public = "https://factory.example.com"
    subscriber = replace(site.runtime.webhook_subscriber, public_url=public)
    site.runtime.__dict__["webhook_subscriber"] = subscriber
    made = admin.post(f"{HOOKS}/ado/subscribe", json=nowhere).json()
    assert made["url"] == f"{public}{HOOKS}/{source}"


def test_what_cannot_be_told_says_so(site: ApiSite, offered: AzureOffered):
    admin = site.client(somebody())
    a_sender(site, "github", "gh")
    assert "azure-devops" in admin.post(f"{HOOKS}/gh/subscribe", json=ASKED).text
    a_source(site, offered)
    del site.runtime.__dict__["host"]  # as it is unless somebody says otherwise
    site.runtime.__dict__.pop("webhook_subscriber", None)
    local = admin.post(f"{HOOKS}/ado/subscribe", json=ASKED)
    assert local.status_code == 422
    assert "repositories alone" in local.json()["detail"]
    admin.post(f"{HOOKS}/ado/disable")
    assert "disabled" in admin.post(f"{HOOKS}/ado/subscribe", json=ASKED).text


def test_what_the_host_refuses_is_told_as_its_refusal(site: ApiSite, offered: AzureOffered):
    a_source(site, offered)
    body = {"message": "VS403417: no hooks for you", "typeKey": "HooksRefused"}
    offered.forge.answer("hooks.create", 400, body)
    refused = site.client(somebody()).post(f"{HOOKS}/ado/subscribe", json=ASKED)
    assert (refused.status_code, offered.hooks()) == (502, []), refused.text
    assert "VS403417" in refused.json()["detail"]
