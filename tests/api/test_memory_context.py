"""Context packages over HTTP: made for a task, read by id by those who see all of them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from factory_runtime.domain.access import Role
from tests.api.site import ApiSite, somebody
from tests.builders import a_memory
from tests.remembering import Remembering, remembering_of

CONTEXT = "/api/v1/memory/context"


@pytest.fixture
def known(small_site: ApiSite) -> Remembering:
    found = remembering_of(small_site.runtime)
    for project_id in ("shop", "mill", None):
        found.remember(
            a_memory(id=f"mem-{project_id}", project_id=project_id, text=f"orders {project_id}")
        )
    return found


def made(client: TestClient, **asked: Any) -> Any:
    answer = client.post(CONTEXT, json={"task": "orders", **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(package: Any) -> set[str]:
    return {one["memoryId"] for one in package["items"]}


def test_a_package_is_made_once_and_read_by_its_id(small_site: ApiSite, known: Remembering):
    admin = small_site.client(somebody())
    package = made(admin, budgetTokens=500)
    assert ids(package) == {"mem-shop", "mem-mill", "mem-None"}
    assert package["text"] == "\n\n".join(one["citedText"] for one in package["items"])
    assert sum(one["tokens"] for one in package["items"]) == package["tokens"] <= 500
    assert (package["ttlSeconds"], package["countedBy"]) == (300, "characters/4")
    assert package["freshness"]["indexLagSeconds"] == 0
    assert made(admin, budgetTokens=500) == package
    assert admin.get(f"{CONTEXT}/{package['contextPackageId']}").json() == package


def test_who_sees_less_gets_another_and_reads_none_of_more(small_site: ApiSite, known: Remembering):
    app = small_site.app()
    admin = small_site.client(somebody(), app)
    bob = small_site.client(somebody(role=Role.VIEWER, project_id="mill", name="bob"), app)
    eve = small_site.client(somebody(tenant_id="umbrella", name="eve"), app)
    whole, mill = made(admin), made(admin, project="mill")
    assert ids(made(bob)) == ids(mill) == {"mem-mill", "mem-None"}
    assert made(eve)["items"] == []
    assert bob.post(CONTEXT, json={"task": "orders", "project": "shop"}).status_code == 403
    for client, package, status in (
        (bob, mill, 200),
        (bob, whole, 404),
        (eve, whole, 404),
        (eve, mill, 404),
    ):
        answer = client.get(f"{CONTEXT}/{package['contextPackageId']}")
        assert answer.status_code == status
    problem = bob.get(f"{CONTEXT}/{whole['contextPackageId']}").json()
    assert problem["type"].endswith(":context-package-not-found")


def test_what_was_forgotten_is_not_read(small_site: ApiSite, known: Remembering):
    admin = small_site.client(somebody())
    package = made(admin)
    known.forget(a_memory(id="mem-shop"))
    read = admin.get(f"{CONTEXT}/{package['contextPackageId']}").json()
    assert ids(read) == {"mem-mill", "mem-None"}
    assert "shop" not in read["text"]


@pytest.mark.parametrize(
    "asked",
    [
        {"task": ""},
        {"task": "x" * 4001},
        {"budgetTokens": 0},
        {"ttlSeconds": 0},
        {"ttlSeconds": 86_401},
        {"kinds": ["secret"]},
        {"kinds": []},
    ],
)
def test_what_cannot_be_asked_for_is_refused(small_site: ApiSite, asked: Any):
    body = {"task": "orders", **asked}
    assert small_site.client(somebody()).post(CONTEXT, json=body).status_code == 422
