"""Suggestions over HTTP: of templates that the tenant may ask for, by runs that one may see."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from factory_runtime.domain.access import Role
from tests.api.site import ApiSite, somebody
from tests.builders import a_memory
from tests.remembering import remembering_of

SUGGEST = "/api/v1/templates/suggest"


def remember(site: ApiSite) -> None:
    known = remembering_of(site.runtime)
    for tenant_id, project_id, size in (("acme", "shop", 3), ("umbrella", "shop", 7)):
        known.remember(
            a_memory(
                id=f"mem-{tenant_id}",
                tenant_id=tenant_id,
                project_id=project_id,
                text="an orders service",
                outcome="succeeded",
                template_id="service",
                template_version="1.0.0",
                facts={"inputs": {"size": size, "service_name": "orders"}},
            )
        )


def suggested(client: TestClient, **asked: Any) -> Any:
    answer = client.post(SUGGEST, json={"query": "an orders service", **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_inputs_come_from_runs_that_one_may_see(small_site: ApiSite):
    remember(small_site)
    app = small_site.app()
    admin = small_site.client(somebody(), app)
    bob = small_site.client(somebody(role=Role.VIEWER, project_id="mill", name="bob"), app)
    eve = small_site.client(somebody(tenant_id="umbrella", name="eve"), app)
    told = suggested(admin)
    assert told["template"]["templateId"] == "service"
    assert told["inputs"] == {"size": 3}
    assert [one["memoryId"] for one in told["because"]] == ["mem-acme"]
    assert suggested(eve)["inputs"] == {"size": 7}
    for answer in (suggested(bob), suggested(admin, project="mill")):
        assert (answer["inputs"], answer["because"], answer["drawnFrom"]) == ({}, [], [])
    assert bob.post(SUGGEST, json={"query": "x", "project": "shop"}).status_code == 403


def test_a_request_may_say_that_it_drew_from_what_is_named(small_site: ApiSite):
    remember(small_site)
    admin = small_site.client(somebody())
    inputs = {"service_name": "orders", "size": 3}
    for project, named in ((None, []), ("shop", ["mem-acme"])):
        asked = {} if project is None else {"project": project}
        told = suggested(admin, **asked)
        assert (told["inputs"], told["drawnFrom"]) == ({"size": 3}, named)
        body = {"templateRecipeId": "service", "inputs": inputs, "drawnFrom": told["drawnFrom"]}
        beside = {} if project is None else {"projectId": project}
        answer = admin.post("/api/v1/runs", json=body | beside)
        assert answer.status_code == 202, answer.text


def test_where_nothing_fits_there_is_none(small_site: ApiSite):
    remember(small_site)
    told = suggested(small_site.client(somebody()), query="rockets")
    assert told["template"] is None
    assert told["nearest"]


def test_a_query_of_nothing_is_refused(small_site: ApiSite):
    client = small_site.client(somebody())
    for query in ("", " ", "x" * 4001):
        assert client.post(SUGGEST, json={"query": query}).status_code == 422
