"""Bulk redrives that come again, or at once: one order for the same letters, another for others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from httpx2 import Response

from factory_runtime.domain.dead_letter import Change, LetterFilter, RedriveOrder
from factory_runtime.ports import RunTransaction
from factory_runtime.services.redrive import Redriver
from factory_runtime.services.redrive_order import Standing
from factory_runtime.services.repeats import order_once
from tests.api.laid_out import lay_out
from tests.api.site import ApiSite, somebody

LATER = "2100-01-01T00:00:00Z"


def retry(site: ApiSite, expected: int | None = None, until: str = "") -> Response:
    client = site.client(somebody())
    query = {"project": "shop"} | ({"until": until} if until else {})
    body = {} if expected is None else {"expectedCount": expected}
    return client.post("/api/v1/dead-letters/actions/retry", params=query, json=body)


def test_an_order_is_repeated_until_another_letter_fails(shared_site: ApiSite):
    lay_out(shared_site, "shop")
    first = retry(shared_site, 1, LATER).json()
    assert first["total"] == 1
    for expected, until in ((1, LATER), (None, LATER), (1, "")):
        assert retry(shared_site, expected, until).json()["orderId"] == first["orderId"]
    assert retry(shared_site, 7).status_code == 409
    lay_out(shared_site, "shop")
    assert retry(shared_site, 1).status_code == 409
    second = retry(shared_site, 2).json()
    assert (second["orderId"] != first["orderId"], second["total"]) == (True, 2)
    assert retry(shared_site).json()["orderId"] == second["orderId"]


def meeting(site: ApiSite) -> Redriver:
    """Goes on once two want to order; and looks for what stands beside the other, if it can."""
    wanting, looking = Barrier(2, timeout=30), Barrier(2, timeout=0.2)

    class Meeting(Redriver):
        def order(self, *asked: Any, stands: Standing | None = None, **more: Any) -> RedriveOrder:
            def met(tx: RunTransaction) -> RedriveOrder | None:
                found = stands(tx) if stands is not None else None
                with suppress(BrokenBarrierError):
                    looking.wait()
                return found

            wanting.wait()
            return super().order(*asked, stands=met, **more)

    return Meeting(site.store, site.runtime.clock, site.runtime.desk)


def order_twice(site: ApiSite, letters: int, *, canary: bool) -> None:
    """At once, and one order comes of it."""
    for _ in range(letters):
        lay_out(site, "shop")
    where = LetterFilter(project_id="shop", can_go_round=True)
    redriver = meeting(site)

    def order(_: int) -> str:
        made = order_once(redriver, "acme", where, "ada", Change(), canary=canary, expected=letters)
        return made.id

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(order, range(2))
    assert first == second
    with site.store.begin("acme", read_only=True) as tx:
        assert len(tx.list_redrive_orders()) == letters + 1, "those laid out, and one"


def test_of_two_orders_at_once_one_is_made(site: ApiSite):
    order_twice(site, 1, canary=False)


@pytest.mark.parametrize("letters", [2, 1])
def test_of_two_orders_at_once_one_letter_goes_ahead(small_site: ApiSite, letters: int):
    order_twice(small_site, letters, canary=True)
