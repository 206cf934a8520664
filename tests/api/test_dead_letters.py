"""Dead letters over HTTP: found, sent round again, closed, one at a time or by a query."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from factory_runtime.domain.access import Role
from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.domain.run import RunStatus
from tests.api.laid_out import LaidOut, lay_out
from tests.api.site import ApiSite, somebody

LETTERS = "/api/v1/dead-letters"
ORDERS = "/api/v1/redrive-orders"


def status_of(site: ApiSite, there: LaidOut) -> LetterStatus:
    with site.store.begin("acme", read_only=True) as tx:
        return tx.get_dead_letter(there.letter.id).status


def test_letters_are_listed_in_parts_though_one_fails_again_meanwhile(site: ApiSite):
    there = [lay_out(site, project) for project in ("shop", "mill", "shop")]
    client = site.client(somebody())
    first = client.get(LETTERS, params={"limit": 2}).json()
    assert [one["letterId"] for one in first["items"]] == [there[2].letter.id, there[1].letter.id]
    with site.store.begin("acme") as tx:
        letter = there[1].letter
        later = replace(letter, version=2, failed_at=letter.failed_at + timedelta(hours=1))
        tx.save_dead_letter(letter, later)
    rest = client.get(LETTERS, params={"limit": 2, "cursor": first["nextCursor"]}).json()
    assert [one["letterId"] for one in rest["items"]] == [there[0].letter.id]
    assert rest["nextCursor"] is None
    for chosen, count in (
        ({"project": "shop"}, 2),
        ({"fingerprint": "ffffff"}, 3),
        ({"run": there[0].failed, "step": "make"}, 1),
        ({"status": ["discarded", "redriven"]}, 0),
        ({"template": "service", "type": "act"}, 3),
        ({"until": "2000-01-01T00:00:00Z"}, 0),
    ):
        assert len(client.get(LETTERS, params=chosen).json()["items"]) == count, chosen
    assert client.get(LETTERS, params={"fingerprint": "eeeeee"}).status_code == 404


def test_letters_of_other_projects_are_not_there(site: ApiSite):
    shop, mill = lay_out(site, "shop"), lay_out(site, "mill")
    bob = site.client(somebody(role=Role.OPERATOR, project_id="shop", name="bob"))
    assert [one["projectId"] for one in bob.get(LETTERS).json()["items"]] == ["shop"]
    assert [one["letters"] for one in bob.get(f"{LETTERS}/groups").json()["items"]] == [1]
    assert [one["projectId"] for one in bob.get(ORDERS).json()["items"]] == ["shop"]
    for path, known in ((LETTERS, mill.letter.id), (ORDERS, mill.order.id)):
        foreign, unknown = bob.get(f"{path}/{known}"), bob.get(f"{path}/none-of-that-name")
        assert foreign.status_code == unknown.status_code == 404
        told, other = ({**one.json(), "traceId": None} for one in (foreign, unknown))
        told["detail"] = str(told["detail"]).replace(known, "none-of-that-name")
        assert told == other, "nobody can tell which"
    reason = {"reason": "mine"}
    assert bob.post(f"{LETTERS}/{mill.letter.id}/retry").status_code == 404
    assert bob.post(f"{LETTERS}/{mill.letter.id}/discard", json=reason).status_code == 404
    assert bob.post(f"{ORDERS}/{mill.order.id}/stop", json=reason).status_code == 404
    done = bob.post(f"{LETTERS}/actions/discard", json=reason).json()
    assert (done["count"], done["done"]) == (1, 1)
    assert status_of(site, mill) is LetterStatus.OPEN
    assert status_of(site, shop) is LetterStatus.DISCARDED
    cursor = site.client(somebody()).get(LETTERS, params={"limit": 1}).json()["nextCursor"]
    assert bob.get(LETTERS, params={"cursor": cursor}).status_code == 422, "it names another's"


def test_a_letter_goes_round_once(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    app = small_site.app()
    client, viewer = (
        small_site.client(somebody(), app),
        small_site.client(somebody(role=Role.VIEWER), app),
    )
    address = f"{LETTERS}/{there.letter.id}"
    assert viewer.post(f"{address}/retry").status_code == 403
    told = client.post(f"{address}/retry", json={"inputs": {"size": 3}})
    assert (told.status_code, told.json()["status"]) == (200, "Queued")
    assert client.get(f"/api/v1/runs/{there.failed}").json()["inputs"]["size"] == 3
    again = client.post(f"{address}/retry")
    assert again.status_code == 409
    assert "sent round again by ada" in again.json()["detail"]
    detail = viewer.get(address).json()
    assert (detail["status"], detail["redrives"]) == ("redriven", 1)


def test_a_letter_is_discarded_for_a_reason_and_once(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    client = small_site.client(somebody())
    address = f"{LETTERS}/{there.letter.id}/discard"
    for wrong in ({}, {"reason": ""}, {"reason": "  "}, {"reason": "x", "force": True}):
        assert client.post(address, json=wrong).status_code == 422, wrong
    told = client.post(address, json={"reason": "given up"}).json()
    assert (told["status"], told["closedBy"], told["reason"]) == ("discarded", "ada", "given up")
    assert client.post(address, json={"reason": "after all"}).status_code == 409


def test_what_was_not_previewed_is_not_done(small_site: ApiSite):
    there = [lay_out(small_site, "shop"), lay_out(small_site, "shop")]
    client = small_site.client(somebody())
    for action, body in (("retry", {}), ("discard", {"reason": "all"})):
        address = f"{LETTERS}/actions/{action}"
        assert client.get(address, params={"project": "shop"}).json() == {"count": 2}
        assert client.get(address, params={"project": "mill"}).json() == {"count": 0}
        assert client.post(address, json={**body, "expectedCount": 3}).status_code == 409
    assert {status_of(small_site, one) for one in there} == {LetterStatus.OPEN}


def test_an_order_is_for_one_project_or_for_who_operates_in_all(site: ApiSite):
    shop, _ = lay_out(site, "shop"), lay_out(site, "mill")
    app = site.app()
    admin = site.client(somebody(), app)
    bob = site.client(somebody(role=Role.OPERATOR, project_id="shop", name="bob"), app)
    assert bob.post(f"{LETTERS}/actions/retry").status_code == 403
    assert bob.post(f"{LETTERS}/actions/retry", params={"project": "mill"}).status_code == 403
    whole = admin.post(f"{LETTERS}/actions/retry", json={"timeoutSeconds": 60})
    assert (whole.status_code, whole.json()["total"]) == (202, 2)
    assert bob.get(whole.headers["location"]).status_code == 404
    own = bob.post(
        f"{LETTERS}/actions/retry", params={"project": "shop"}, json={"canary": True}
    ).json()
    assert (own["status"], own["canaryId"]) == ("canary", shop.letter.id)
    assert site.stands("acme", shop.failed).status is RunStatus.QUEUED
    assert [one["orderId"] for one in bob.get(ORDERS, params={"limit": 1}).json()["items"]] == [
        own["orderId"]
    ]
    stop = f"{ORDERS}/{own['orderId']}/stop"
    assert bob.post(stop, json={"reason": "wrong host"}).json()["status"] == "stopped"
    assert bob.post(stop, json={"reason": "after all"}).status_code == 409
