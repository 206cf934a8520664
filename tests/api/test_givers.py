"""Approvals over HTTP with keys that somebody has given: who gave one may come with it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.credentials import Credentials
from api.tokens import Tokens
from cli.desk.local import LocalDesk
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


def test_who_reads_an_approval_is_told_why_they_may_not_grant_it(
    shared_site: ApiSite, shown: TestClient
):
    approval = lay_out(shared_site, "shop").approval.id
    ada = given(shared_site, ROOT, "ada", Role.ADMIN)
    keys = {
        "has a key from ada, who asked for the run or changed its plan": new_key(
            shown, ada, "grace", Role.APPROVER
        ),
        "has no role that decides in project shop": given(
            shared_site, ROOT, "linus", Role.OPERATOR
        ),
        "requested the run": ada,
        None: given(shared_site, ROOT, "grace", Role.APPROVER),
    }
    for why, key in keys.items():
        read = shown.get(f"{API}/approvals/{approval}", headers={"X-Api-Key": key}).json()
        assert read["whyNot"] == why
        asked = ask(shown, key, f"/approvals/{approval}/grant")
        assert asked["status_code"] == (200 if why is None else 403)


def test_the_page_of_an_approval_says_what_a_vote_would_meet(
    shared_site: ApiSite, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cli.desk.local_looks.person", lambda: "grace")
    desk, grace = (
        LocalDesk(shared_site.runtime, "umbrella"),
        somebody(tenant_id="umbrella", name="grace"),
    )
    assert desk.why_no_grant(lay_out(shared_site, "shop", "umbrella").approval) is None
    given(shared_site, grace, "ada", Role.ADMIN)
    assert desk.why_no_grant(lay_out(shared_site, "shop", "umbrella").approval) == (
        "gave a key to ada, who asked for the run or changed its plan"
    )


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
