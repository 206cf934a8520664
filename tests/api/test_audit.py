"""The audit over HTTP: what requests leave in it, and who may read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.domain.access import Role
from factory_runtime.domain.artifact import Classification
from factory_runtime.domain.audit import parse_head
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.services.verify_audit import verify_audit
from tests.api.site import ApiSite, somebody
from tests.builders import an_artifact

AUDIT = "/api/v1/audit"


def entries(client: Any, **where: str) -> list[dict[str, Any]]:
    return list(client.get(AUDIT, params=where).json()["items"])


def test_an_entry_says_who_asked_from_where_with_which_key(site: ApiSite):
    admin = site.client(somebody())
    keyed = site.client(replace(somebody(name="bob"), key_id="key-1", origin="203.0.113.7"))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    run = site.run(keyed)
    mine = site.run(admin)
    admin.post(f"/api/v1/runs/{run}/pause", headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})
    pause, second, first = entries(admin)
    assert (first["actor"], first["action"], first["subject"]) == ("bob", "run.request", run)
    assert (first["origin"], first["keyId"]) == ("203.0.113.7", "key-1")
    assert (second["subject"], second["origin"], second["keyId"]) == (mine, "testclient", None)
    assert (pause["action"], pause["subject"], pause["keyId"]) == ("run.pause", run, None)
    assert first["traceId"] == site.stands("acme", run).trace_id


def test_entries_are_listed_in_parts_by_what_they_say(site: ApiSite):
    admin = site.client(somebody())
    runs = [site.run(admin) for _ in range(3)]
    for run in runs[:2]:
        admin.post(f"/api/v1/runs/{run}/cancel")
    assert [one["subject"] for one in entries(admin, action="run.cancel")] == runs[1::-1]
    assert [one["action"] for one in entries(admin, subject=runs[0])] == [
        "run.cancel",
        "run.request",
    ]
    assert entries(admin, actor="nobody") == []
    assert entries(admin, until="2026-01-01T00:00:00Z") == []
    part = admin.get(AUDIT, params={"limit": 2}).json()
    rest = admin.get(AUDIT, params={"limit": 3, "cursor": part["nextCursor"]}).json()
    assert [*part["items"], *rest["items"]] == entries(admin)
    assert rest["nextCursor"] is None
    for wrong in ({"cursor": "aud-of-nobody"}, {"limit": 0}, {"since": "noon"}, {"who": "ada"}):
        assert admin.get(AUDIT, params=wrong).status_code == 422, wrong


@pytest.mark.parametrize("classification", list(Classification))
def test_whose_hands_an_artifact_s_bytes_came_into_is_on_record(
    small_site: ApiSite, monkeypatch: pytest.MonkeyPatch, classification: Classification
):
    admin = small_site.client(somebody())
    run = small_site.stands("acme", small_site.run(admin))
    stored = small_site.runtime.storage.put("acme", b"bytes")
    made = an_artifact(
        run,
        sha256=stored.digest,
        size=5,
        uri=f"artifact:{stored.digest}",
        classification=classification,
    )
    with small_site.store.begin("acme") as tx:
        tx.add_artifacts([made])
    path = f"/api/v1/artifacts/{made.id}/body"
    assert admin.get(path).content == b"bytes"
    (entry,) = entries(admin, action="artifact.read")
    assert (entry["actor"], entry["subject"], entry["origin"]) == ("ada", made.id, "testclient")

    def away(*_: object) -> None:
        raise StoreUnavailableError("the disk is full")

    monkeypatch.setattr(SqlTransaction, "add_audit", away)
    withheld = classification is Classification.CONFIDENTIAL
    assert admin.get(path).status_code == (503 if withheld else 200)


def test_the_head_is_that_of_the_chain(site: ApiSite):
    admin = site.client(somebody())
    assert admin.get(f"{AUDIT}/head").json() == {
        "number": 0,
        "digest": None,
        "sealedAt": None,
        "unsealed": 0,
    }
    site.run(admin)
    assert site.runtime.seal_audit() == 1
    site.run(admin)
    head = admin.get(f"{AUDIT}/head").json()
    assert (head["number"], head["unsealed"]) == (1, 1)
    noted = parse_head(f"{head['number']}:{head['digest']}")
    assert verify_audit(site.store, "acme", noted).broken is None


@pytest.mark.parametrize("path", [AUDIT, f"{AUDIT}/head"])
def test_only_admins_of_the_whole_tenant_read_it_and_their_own_alone(
    small_site: ApiSite, path: str
):
    small_site.run(small_site.client(somebody()))
    for role in set(Role) - {Role.ADMIN}:
        assert small_site.client(somebody(role=role)).get(path).status_code == 403, role
    of_project = small_site.client(somebody(project_id="shop"))
    assert of_project.get(path).status_code == 403
    other = small_site.client(somebody("umbrella"))
    answer = other.get(path).json()
    assert answer.get("items", []) == []
    assert answer.get("unsealed", 0) == 0
