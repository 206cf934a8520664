"""Memory over HTTP: what was learned in one's own projects, and what happens while it is away."""

from __future__ import annotations

from factory_runtime.domain.access import Role
from factory_runtime.domain.memory import Collection
from factory_runtime.memory.in_memory import InMemoryMemoryIndex, WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex
from tests.api.site import ApiSite, somebody
from tests.builders import a_memory

SEARCH = "/api/v1/memory/search"


def remember(site: ApiSite) -> None:
    embedder = WordsEmbedder()
    index = InMemoryMemoryIndex(embedder)
    site.runtime.__dict__.update(embedder=embedder, memory=index)
    for tenant_id, project_id, kind in (
        ("acme", "shop", Collection.RUNS),
        ("acme", "mill", Collection.RUNS),
        ("acme", None, Collection.TEMPLATES),
        ("umbrella", "shop", Collection.RUNS),
    ):
        text = f"orders service of {project_id}"
        (vector,) = embedder.embed([text])
        one = a_memory(
            id=f"mem-{tenant_id}-{project_id}",
            tenant_id=tenant_id,
            project_id=project_id,
            collection=kind,
            text=text,
            vector=vector,
            embedding_model=embedder.model,
            embedding_version=embedder.version,
        )
        index.upsert(tenant_id, [one])


def test_each_finds_what_belongs_to_their_projects_and_to_none(small_site: ApiSite):
    remember(small_site)
    app = small_site.app()
    admin = small_site.client(somebody(), app)
    bob = small_site.client(somebody(role=Role.VIEWER, project_id="mill", name="bob"), app)

    def found(client: object, **asked: object) -> set[str]:
        assert client is admin or client is bob
        body = {"query": "orders service", **asked}
        answer = (admin if client is admin else bob).post(SEARCH, json=body)
        assert answer.status_code == 200, answer.text
        return {one["memoryId"] for one in answer.json()["items"]}

    assert found(admin) == {"mem-acme-shop", "mem-acme-mill", "mem-acme-None"}
    assert found(admin, project="shop") == {"mem-acme-shop", "mem-acme-None"}
    assert found(admin, collections=["templates"]) == {"mem-acme-None"}
    assert found(bob) == found(bob, project="mill") == {"mem-acme-mill", "mem-acme-None"}
    assert bob.post(SEARCH, json={"query": "orders", "project": "shop"}).status_code == 403
    assert bob.post(SEARCH, json={"query": " "}).status_code == 422


def test_a_memory_that_is_away_is_one_to_ask_again(small_site: ApiSite):
    embedder = WordsEmbedder()
    folder = small_site.runtime.settings.memory_folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")
    away = LanceMemoryIndex(folder, embedder)
    small_site.runtime.__dict__.update(embedder=embedder, memory=away)
    answer = small_site.client(somebody()).post(SEARCH, json={"query": "orders"})
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":memory-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
