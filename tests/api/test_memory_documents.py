"""Documents over HTTP: of one's own project, or of the whole tenant by who may ask in all of it."""

from __future__ import annotations

from fastapi.testclient import TestClient
from httpx2 import Response

from factory_runtime.domain.access import Role
from factory_runtime.domain.memory import Kind, Memory
from tests.api.site import ApiSite, somebody
from tests.builders import TENANT

GUIDE = "# Queues\n\nOrders are put on one queue each, so that no customer waits.\n"


def add(client: TestClient, **body: object) -> Response:
    asked = {"source": "docs/queues.md", "content": GUIDE, **body}
    return client.post("/api/v1/memory/documents", json=asked)


def kept(site: ApiSite, tenant_id: str = TENANT) -> list[Memory]:
    with site.store.begin(tenant_id, read_only=True) as tx:
        return list(tx.list_memories(kind=Kind.DOCUMENT))


def test_a_document_is_kept_once_however_often_it_is_sent(small_site: ApiSite) -> None:
    client = small_site.client(somebody(role=Role.REQUESTER))
    first = add(client, project="shop", classification="confidential", commit="c0ffee").json()
    assert (first["changed"], first["superseded"]) == (1, 0)
    again = add(client, project="shop", classification="confidential", commit="c0ffee").json()
    assert again == {**first, "changed": 0}
    (memory,) = kept(small_site)
    assert (memory.id, memory.project_id) == (first["memoryIds"][0], "shop")
    assert (memory.classification, memory.commit) == ("confidential", "c0ffee")


def test_who_may_ask_in_one_project_adds_to_that_alone(small_site: ApiSite) -> None:
    bob = small_site.client(somebody(role=Role.REQUESTER, project_id="shop", name="bob"))
    assert add(bob, project="mill").status_code == 403
    assert add(bob).status_code == 403, "what belongs to no project is the whole tenant's"
    assert kept(small_site) == []
    assert add(bob, project="shop").status_code == 200


def test_who_may_ask_in_all_of_it_adds_to_the_tenant(small_site: ApiSite) -> None:
    assert add(small_site.client(somebody(role=Role.REQUESTER))).status_code == 200
    (memory,) = kept(small_site)
    assert memory.project_id is None
    assert kept(small_site, "umbrella") == []


def test_readers_add_nothing_and_what_is_no_text_is_refused(small_site: ApiSite) -> None:
    app = small_site.app()
    assert add(small_site.client(somebody(role=Role.VIEWER), app)).status_code == 403
    client = small_site.client(somebody(), app)
    for body in ({"content": ""}, {"content": "\x00"}, {"source": ""}, {"source": "a\nb"}):
        assert add(client, **body).status_code == 422, body
    assert add(client, classification="secret").status_code == 422
    assert kept(small_site) == []
