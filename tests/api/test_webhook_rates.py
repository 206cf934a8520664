"""Webhooks come no faster than their sources may send, and nobody else uses that up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from limits import parse

from api import limits
from factory_runtime.domain.webhook import DeliveryFilter
from factory_runtime.ports import RunStore
from factory_runtime.wire.problem import PROBLEM_TYPE
from tests.api.hooks import Sender, a_sender, answering, changed, payload, runs_of
from tests.api.site import ApiSite, somebody

CREATED = payload("github-repository-created")
FEW = {"api_webhook_rate": "3/hour", "api_webhook_tenant_rate": "4/hour"}


@pytest.fixture
def few(tmp_path: Path, sqlite_url: str, sqlite_store: RunStore) -> ApiSite:
    return ApiSite(tmp_path, sqlite_url, sqlite_store, **FEW)


def senders(site: ApiSite, *tenants: str) -> list[Sender]:
    """One source of each, at one application."""
    client = site.client(app=site.app())
    found = [a_sender(site, "github", f"hub-{n}", one) for n, one in enumerate(tenants)]
    for sender in found:
        sender.client = client
    return found


def deliver(sender: Sender, *numbers: int) -> list[Any]:
    bodies = [changed(CREATED, number=number) for number in numbers]
    return [
        sender.send(body, sender.headers(body, f"{sender.source_id}-{number}"))
        for number, body in zip(numbers, bodies, strict=True)
    ]


def test_a_delivery_beyond_the_rate_of_its_source_is_not_kept_and_may_come_again(few: ApiSite):
    answering(few, "greet", "github")
    (sender,) = senders(few, "acme")
    *taken, refused = deliver(sender, 1, 2, 3, 4)
    assert [one.status_code for one in taken] == [202] * 3
    assert (refused.status_code, refused.json()["type"]) == (429, f"{PROBLEM_TYPE}limit-reached")
    assert "hub-0 sends too often: no more than 3 in 3600 s" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 3600
    with few.store.begin("acme", read_only=True) as tx:
        assert len(tx.list_deliveries(DeliveryFilter())) == len(runs_of(few)) == 3
    sender.client = few.client()  # as an hour later: nothing is counted yet
    (again,) = deliver(sender, 4)
    assert (again.status_code, len(runs_of(few))) == (202, 4)


def test_the_sources_of_a_tenant_share_its_rate_and_another_s_have_their_own(few: ApiSite):
    one, other, elsewhere = senders(few, "acme", "acme", "umbrella")
    got = [*deliver(one, 1, 2, 3), *deliver(other, 1, 2), *deliver(elsewhere, 1)]
    assert [answer.status_code for answer in got] == [202, 202, 202, 202, 429, 202]
    assert "the sources of the tenant" in got[4].json()["detail"]


def test_what_people_ask_and_what_sources_send_are_counted_apart(
    tmp_path: Path, sqlite_url: str, sqlite_store: RunStore
):
    rates = {"api_rate": "2/hour", "api_tenant_rate": "2/hour"}
    site = ApiSite(tmp_path, sqlite_url, sqlite_store, **rates, **FEW)
    (sender,) = senders(site, "acme")
    assert [one.status_code for one in deliver(sender, 1, 2, 3)] == [202] * 3
    asked = site.client(somebody())
    assert [asked.get("/api/v1/runs").status_code for _ in range(3)] == [200, 200, 429]


def test_nobody_else_uses_up_the_rate_of_a_source(
    tmp_path: Path, sqlite_url: str, sqlite_store: RunStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "_SAME_DELIVERY", parse("5/hour"))
    site = ApiSite(tmp_path, sqlite_url, sqlite_store, api_webhook_rate="7/hour")
    (sender,) = senders(site, "acme")
    (first,) = deliver(sender, 1)
    forged = sender.headers(CREATED) | {"X-Hub-Signature-256": "sha256=00"}
    assert {sender.send(CREATED, forged).status_code for _ in range(35)} == {401, 429}
    caught = [answer for _ in range(9) for answer in deliver(sender, 1)]
    assert [one.status_code for one in caught] == [202] * 4 + [429] * 5
    assert {one.text for one in caught[:4]} == {first.text}
    assert "the same delivery comes too often" in caught[-1].json()["detail"]
    assert [one.status_code for one in deliver(sender, 2, 3, 4)] == [202, 202, 429]


def test_what_is_verified_and_no_event_counts_too(few: ApiSite, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "_SAME_DELIVERY", parse("2/hour"))
    (sender,) = senders(few, "acme")
    broken, other, plain = b"{", b"[", sender.headers(CREATED) | {"Content-Type": "text/plain"}
    got = [sender.send(broken, sender.headers(broken)) for _ in range(3)]
    got += [sender.send(CREATED, plain), sender.send(other, sender.headers(other))]
    assert [answer.status_code for answer in got] == [422, 422, 429, 415, 429]
    assert "the same delivery comes too often" in got[2].json()["detail"]
    assert "hub-0 sends too often" in got[4].json()["detail"]
    assert [answer.status_code for answer in deliver(sender, 1)] == [429]
