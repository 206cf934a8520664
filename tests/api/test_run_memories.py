"""What a run drew from and was shown, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from factory_runtime.domain.access import Role
from factory_runtime.domain.memory import Kind, MemoryUse
from factory_runtime.domain.run import RunStatus
from tests.api.site import ApiSite, somebody
from tests.builders import NOON, TENANT, a_memory

RUNS = "/api/v1/runs"
ASKED: dict[str, Any] = {
    "templateRecipeId": "service",
    "projectId": "shop",
    "inputs": {"service_name": "orders"},
}


@pytest.fixture
def site(small_site: ApiSite) -> ApiSite:
    """A tenant that remembers something of each of two projects, and of none."""
    with small_site.store.begin(TENANT) as tx:
        tx.save_memories(
            [
                a_memory(id="mem-shop", project_id="shop", run_id="run-before"),
                a_memory(id="mem-bank", project_id="bank"),
                a_memory(id="mem-all", project_id=None, kind=Kind.DOCUMENT, title="A rule"),
            ]
        )
    return small_site


def test_a_run_tells_what_was_drawn_from(site: ApiSite) -> None:
    client = site.client(somebody())
    run_id = site.run(client, **ASKED, drawnFrom=["mem-all", "mem-shop"])
    first, second = client.get(f"{RUNS}/{run_id}/memories").json()["items"]
    at = first.pop("shownAt")
    assert first == {
        "memoryId": "mem-all",
        "title": "A rule",
        "kind": "document",
        "sourceRunId": None,
        "step": None,
        "rank": 1,
        "score": 0.0,
        "usedAt": at,
    }
    assert (second["memoryId"], second["sourceRunId"]) == ("mem-shop", "run-before")


def test_what_was_used_stands_before_what_was_only_shown(site: ApiSite) -> None:
    client = site.client(somebody())
    run_id = site.run(client, **ASKED)
    shown = MemoryUse(TENANT, run_id, "make", "mem-forgotten", "shop", 1, 0.9, NOON)
    used = MemoryUse(TENANT, run_id, "make", "mem-shop", "shop", 2, 0.8, NOON, used_at=NOON)
    with site.store.begin(TENANT) as tx:
        tx.add_uses([shown, used])
    found = client.get(f"{RUNS}/{run_id}/memories").json()["items"]
    told = [(one["memoryId"], one["step"], one["title"], one["usedAt"] is None) for one in found]
    assert told == [
        ("mem-shop", "make", "orders", False),
        ("mem-forgotten", "make", None, True),
    ]


@pytest.mark.parametrize("other", ["mem-bank", "mem-nowhere"])
def test_what_the_project_does_not_have_is_named_and_nothing_else_is_told(
    site: ApiSite, other: str
) -> None:
    client = site.client(somebody())
    answer = client.post(RUNS, json={**ASKED, "drawnFrom": ["mem-shop", other]})
    problem = answer.json()
    assert answer.status_code == 422
    assert problem["type"] == "urn:factory-runtime:problem:unknown-memory"
    assert problem["detail"].startswith(f"the project shop has no memory {other}")
    assert site.stands(TENANT, problem["runId"]).status is RunStatus.FAILED
    preview = client.post(f"{RUNS}/preview", json={**ASKED, "drawnFrom": ["mem-shop", other]})
    assert (preview.status_code, preview.json()["detail"]) == (422, problem["detail"])


@pytest.mark.parametrize("given", [["x" * 65], ["a b"], [""], ["mem-\n"], ["m"] * 51, "mem-1"])
def test_what_can_be_no_memory_is_refused(site: ApiSite, given: Any) -> None:
    answer = site.client(somebody()).post(RUNS, json={**ASKED, "drawnFrom": given})
    assert answer.status_code == 422


def test_who_may_not_see_the_run_sees_no_memories_of_it(site: ApiSite) -> None:
    run_id = site.run(site.client(somebody()), **ASKED, drawnFrom=["mem-shop"])
    place = f"{RUNS}/{run_id}/memories"
    assert site.client(somebody(role=Role.VIEWER, project_id="shop")).get(place).json()["items"]
    for other in (somebody("umbrella"), somebody(project_id="bank")):
        assert site.client(other).get(place).status_code == 404


def test_what_is_confidential_is_named_to_operators_of_its_project_alone(site: ApiSite) -> None:
    with site.store.begin(TENANT) as tx:
        secret = {"classification": "confidential", "kind": Kind.DOCUMENT}
        tx.save_memories(
            [
                a_memory(id="mem-secret", project_id="shop", title="Ours", **secret),
                a_memory(id="mem-rule", project_id=None, title="Everybody's", **secret),
            ]
        )
    asked = {**ASKED, "drawnFrom": ["mem-secret", "mem-rule", "mem-all"]}
    run_id = site.run(site.client(somebody()), **asked)

    def titles(**who: Any) -> list[str | None]:
        found = site.client(somebody(**who)).get(f"{RUNS}/{run_id}/memories").json()["items"]
        return [one["title"] for one in found]

    assert titles() == ["Ours", "Everybody's", "A rule"]
    assert titles(role=Role.OPERATOR, project_id="shop") == ["Ours", None, "A rule"]
    assert titles(role=Role.VIEWER, project_id="shop") == [None, None, "A rule"]
    assert titles(role=Role.VIEWER) == [None, None, "A rule"]


def test_the_same_key_with_other_memories_is_another_request(site: ApiSite) -> None:
    client, key = site.client(somebody()), {"Idempotency-Key": "order-1"}
    asked = {**ASKED, "drawnFrom": ["mem-shop"]}
    first, again = (client.post(RUNS, json=asked, headers=key) for _ in range(2))
    assert first.json()["runId"] == again.json()["runId"]
    assert len(client.get(f"{RUNS}/{first.json()['runId']}/memories").json()["items"]) == 1
    assert client.post(RUNS, json=ASKED, headers=key).status_code == 409
