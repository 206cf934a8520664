"""Approvals over HTTP: asked of whom, answered by whom, once."""

from __future__ import annotations

from dataclasses import replace

from fastapi.testclient import TestClient

from factory_runtime.domain.access import Principal, Role
from tests.api.laid_out import LaidOut, lay_out
from tests.api.site import ApiSite, somebody

APPROVALS = "/api/v1/approvals"


def approver(name: str, project_id: str | None = None, *groups: str) -> Principal:
    return replace(
        somebody(role=Role.APPROVER, name=name, project_id=project_id), groups=frozenset(groups)
    )


def said(client: TestClient, there: LaidOut, verb: str, comment: str | None = None) -> int:
    body = None if comment is None else {"comment": comment}
    return client.post(f"{APPROVALS}/{there.approval.id}/{verb}", json=body).status_code


def test_who_is_named_grants_it_and_saying_it_twice_is_saying_it_once(site: ApiSite):
    there = lay_out(site, "shop")
    grace = site.client(approver("grace", "shop"))
    assert [said(grace, there, "grant", "agreed") for _ in range(2)] == [200, 200]
    told = grace.get(f"{APPROVALS}/{there.approval.id}").json()
    assert told["approval"]["status"] == "granted"
    assert [(vote["person"], vote["granted"]) for vote in told["votes"]] == [("grace", True)]
    assert said(grace, there, "deny", "after all") == 409


def test_a_group_counts_and_nobody_is_asked_twice_about_what_is_decided(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    app = small_site.app()
    lead = small_site.client(approver("linus", None, "leads"), app)
    assert said(lead, there, "deny") == 422, "without a word"
    assert said(lead, there, "deny", "") == 422
    assert said(lead, there, "deny", "too dear") == 200
    assert said(small_site.client(approver("grace"), app), there, "grant") == 409


def test_who_may_not_decide_does_not(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    app = small_site.app()
    asked = {
        small_site.client(somebody(), app): 403,  # requested the run
        small_site.client(somebody(role=Role.VIEWER, name="grace"), app): 403,
        small_site.client(somebody(role=Role.OPERATOR, name="grace"), app): 403,
        small_site.client(approver("grace", "mill"), app): 404,
        small_site.client(approver("eve", "shop"), app): 403,
        small_site.client(replace(approver("grace"), tenant_id="umbrella"), app): 404,
    }
    assert {client: said(client, there, "grant") for client in asked} == asked
    with small_site.store.begin("acme", read_only=True) as tx:
        assert tx.list_votes(there.approval.id) == ()


def test_approvals_are_listed_oldest_first_within_the_projects(small_site: ApiSite):
    shop, mill = lay_out(small_site, "shop"), lay_out(small_site, "mill")
    app = small_site.app()
    admin, grace = (
        small_site.client(somebody(), app),
        small_site.client(approver("grace", "mill"), app),
    )

    def listed(client: TestClient, **asked: str) -> list[str]:
        items = client.get(APPROVALS, params=asked).json()["items"]
        return [one["approvalId"] for one in items]

    assert listed(admin) == [shop.approval.id, mill.approval.id]
    assert listed(admin, run=mill.waiting, status="open") == [mill.approval.id]
    assert listed(admin, status="denied") == []
    assert listed(grace) == [mill.approval.id]
    more = admin.get(APPROVALS, params={"limit": 1}).json()["nextCursor"]
    assert listed(admin, cursor=more) == [mill.approval.id]
    assert grace.get(APPROVALS, params={"cursor": more}).status_code == 422, "it names another's"
