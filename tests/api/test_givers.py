"""Approvals over HTTP with keys that somebody has given: who gave one may come with it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.credentials import Credentials
from api.tokens import Tokens
from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.services.api_keys import WantedKey, add_key
from factory_runtime.services.key_ring import KeyRing
from tests.api.laid_out import lay_out
from tests.api.site import ApiSite, somebody

API = "/api/v1"
ROOT = somebody(name="root")


@pytest.fixture(scope="module")
def shown(shared_site: ApiSite) -> TestClient:
    """A client of the application as it takes keys."""
    runtime = shared_site.runtime
    credentials = Credentials(KeyRing(lambda: runtime.store, runtime.clock), Tokens(()))
    return TestClient(create_app(runtime, (credentials,)))


def given(site: ApiSite, giver: Principal, name: str, role: Role) -> str:
    wanted = WantedKey(name, (Grant(role, "shop"),))
    return add_key(site.store, site.runtime.clock, giver, wanted).fresh.text


def ask(client: TestClient, key: str, path: str, body: dict[str, Any] | None = None) -> Any:
    answer = client.post(f"{API}{path}", json=body, headers={"X-Api-Key": key})
    return answer.json() | {"status_code": answer.status_code}


def new_key(client: TestClient, key: str, name: str, role: Role) -> str:
    grants = [{"role": role.value, "projectId": "shop"}]
    made = ask(client, key, "/keys", {"name": name, "grants": grants})
    return str(made["key"])


def test_no_chain_of_keys_leads_from_a_request_to_its_approval(
    shared_site: ApiSite, shown: TestClient
):
    approval = lay_out(shared_site, "shop").approval.id  # of a run of ada's
    ada = given(shared_site, ROOT, "ada", Role.ADMIN)
    friend = new_key(shown, ada, "friend", Role.ADMIN)
    grant = f"/approvals/{approval}/grant"
    told = ask(shown, new_key(shown, friend, "grace", Role.APPROVER), grant)
    assert (told["status_code"], told["title"]) == (403, "Not allowed")
    assert "grace has a key from ada" in told["detail"]


def test_a_key_that_was_rotated_is_known_to_who_did_it(shared_site: ApiSite, shown: TestClient):
    approval = lay_out(shared_site, "shop").approval.id
    ada = given(shared_site, ROOT, "ada", Role.ADMIN)
    wanted = WantedKey("grace", (Grant(Role.APPROVER, "shop"),))
    own = add_key(shared_site.store, shared_site.runtime.clock, ROOT, wanted)
    taken = ask(shown, ada, f"/keys/{own.key.id}/rotate")
    assert (taken["made"]["createdBy"], taken["made"]["givers"]) == ("ada", ["root"])
    grant = f"/approvals/{approval}/grant"
    assert ask(shown, taken["key"], grant)["status_code"] == 403
    granted = ask(shown, own.fresh.text, grant)
    assert granted["approval"]["status"] == "granted"
    assert [(vote["person"], vote["behind"]) for vote in granted["votes"]] == [("grace", ["root"])]
    renewed = ask(shown, ada, f"/keys/{taken['made']['keyId']}/rotate")
    assert renewed["made"]["givers"] == ["ada", "root"]
