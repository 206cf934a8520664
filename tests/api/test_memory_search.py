"""Memory over HTTP: what was learned in one's own projects, and what happens while it is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from factory_runtime.domain.access import Role
from factory_runtime.domain.memory import Kind
from factory_runtime.memory.in_memory import WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex
from tests.api.site import ApiSite, somebody
from tests.builders import NOON, a_memory
from tests.remembering import remembering_of

SEARCH = "/api/v1/memory/search"


def remember(site: ApiSite) -> None:
    known = remembering_of(site.runtime)
    for tenant_id, project_id, kind in (
        ("acme", "shop", Kind.RUN),
        ("acme", "mill", Kind.FAILURE),
        ("acme", None, Kind.TEMPLATE),
        ("umbrella", "shop", Kind.RUN),
    ):
        one = a_memory(
            id=f"mem-{tenant_id}-{project_id}",
            tenant_id=tenant_id,
            project_id=project_id,
            kind=kind,
            text=f"orders service of {project_id}",
            outcome="succeeded" if kind is Kind.RUN else None,
            template_id="demo",
            template_version="1.0.0",
        )
        known.remember(one)


def ids(client: TestClient, **asked: Any) -> set[str]:
    answer = client.post(SEARCH, json={"query": "orders service", **asked})
    assert answer.status_code == 200, answer.text
    return {one["memoryId"] for one in answer.json()["items"]}


def test_each_finds_what_belongs_to_their_projects_and_to_none(small_site: ApiSite):
    remember(small_site)
    app = small_site.app()
    admin = small_site.client(somebody(), app)
    bob = small_site.client(somebody(role=Role.VIEWER, project_id="mill", name="bob"), app)
    assert ids(admin) == {"mem-acme-shop", "mem-acme-mill", "mem-acme-None"}
    assert ids(admin, project="shop") == {"mem-acme-shop", "mem-acme-None"}
    assert ids(admin, collections=["templates"]) == {"mem-acme-None"}
    assert ids(bob) == ids(bob, project="mill") == {"mem-acme-mill", "mem-acme-None"}
    assert ids(bob, where="project = 'shop' or run is null") == ids(bob)
    assert bob.post(SEARCH, json={"query": "orders", "project": "shop"}).status_code == 403
    assert bob.post(SEARCH, json={"query": " "}).status_code == 422


def test_what_is_confidential_is_found_by_operators_of_its_project(small_site: ApiSite):
    known = remembering_of(small_site.runtime)
    for project_id in ("shop", "mill", None):
        known.remember(
            a_memory(
                id=f"mem-{project_id}",
                project_id=project_id,
                kind=Kind.DOCUMENT,
                text=f"orders service of {project_id}",
                classification="confidential",
            )
        )
    known.remember(a_memory(id="mem-open", kind=Kind.CODE, text="orders service"))
    app = small_site.app()
    everything = {"collections": ["domain", "code"]}

    def seen(role: Role, project_id: str | None) -> set[str]:
        client = small_site.client(somebody(role=role, project_id=project_id, name=role), app)
        found = ids(client, **everything)
        package = client.post("/api/v1/memory/context", json={"task": "orders"}).json()
        assert {one["memoryId"] for one in package["items"]} == found
        address = f"/api/v1/memory/context/{package['contextPackageId']}"
        viewer = small_site.client(somebody(role=Role.VIEWER, project_id=project_id), app)
        assert [one["memoryId"] for one in viewer.get(address).json()["items"]] == ["mem-open"]
        return found

    assert seen(Role.ADMIN, None) == {"mem-shop", "mem-mill", "mem-None", "mem-open"}
    assert seen(Role.VIEWER, None) == {"mem-open"}
    assert seen(Role.OPERATOR, "mill") == {"mem-mill", "mem-open"}
    assert seen(Role.VIEWER, "mill") == {"mem-open"}


def test_a_models_words_stand_beside_the_text_and_are_not_searched(small_site: ApiSite):
    remember(small_site)
    with small_site.runtime.store.begin("acme") as tx:
        (one,) = tx.find_memories(["mem-acme-shop"])
        tx.save_prose(one, "A zeppelin.")
    admin = small_site.client(somebody())
    items = admin.post(SEARCH, json={"query": "zeppelin"}).json()["items"]
    told = {item["memoryId"]: (item["prose"], item["words"]) for item in items}
    assert told["mem-acme-shop"] == ("A zeppelin.", 0)
    assert told["mem-acme-None"] == (None, 0)
    filtered = admin.post(SEARCH, json={"query": "orders", "where": "prose = 'A zeppelin.'"})
    assert filtered.status_code == 422


def test_all_that_is_said_must_hold(small_site: ApiSite):
    remember(small_site)
    admin = small_site.client(somebody())
    assert ids(admin, kinds=["failure"]) == {"mem-acme-mill"}
    assert ids(admin, kinds=["template", "run"]) == {"mem-acme-None", "mem-acme-shop"}
    assert ids(admin, outcome="succeeded") == {"mem-acme-shop"}
    assert ids(admin, template="other") == set()
    assert ids(admin, where="kind = 'run' and outcome <> 'failed'") == {"mem-acme-shop"}
    later = (NOON + timedelta(hours=1)).isoformat()
    assert ids(admin, since=later) == set()
    assert len(ids(admin, until=later)) == 3


def test_a_hit_says_where_it_comes_from_how_it_scored_and_what_became_of_it(small_site: ApiSite):
    known = remembering_of(small_site.runtime)
    known.remember(
        a_memory(
            id="mem-code",
            kind=Kind.CODE,
            text="def order(): ...",
            path="src/orders.py",
            first_line=3,
            last_line=9,
            commit="c0ffee",
            superseded_by="mem-newer",
        )
    )
    admin = small_site.client(somebody())
    (hit,) = admin.post(SEARCH, json={"query": "def order", "kinds": ["code"]}).json()["items"]
    assert (hit["path"], hit["firstLine"], hit["lastLine"]) == ("src/orders.py", 3, 9)
    assert (hit["commit"], hit["superseded"], hit["sharedBy"]) == ("c0ffee", "mem-newer", None)
    assert 0 < hit["score"] < hit["likeness"] <= 1
    assert 0 < hit["words"] <= 1


@pytest.mark.parametrize(
    "where",
    ["tenant_id = 'umbrella'", "1=1; DROP TABLE runs", "outcome = 'a", "kind = (SELECT 1)", "''"],
)
def test_a_filter_that_is_none_is_refused_in_words(small_site: ApiSite, where: str):
    remember(small_site)
    asked = {"query": "orders", "where": where}
    answer = small_site.client(somebody()).post(SEARCH, json=asked)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith(":input")


def test_a_memory_that_is_away_is_one_to_ask_again(small_site: ApiSite):
    remember(small_site)
    folder = small_site.runtime.settings.memory_folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")
    small_site.runtime.__dict__.update(memory=LanceMemoryIndex(folder, WordsEmbedder()))
    answer = small_site.client(somebody()).post(SEARCH, json={"query": "orders"})
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":memory-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
