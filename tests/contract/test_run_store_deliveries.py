"""Deliveries of webhooks go when they are old: those of each tenant, whatever holds up another's."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from factory_runtime.domain.webhook import KEPT_FOR, DeliveryFilter, DeliveryStatus, WebhookDelivery
from factory_runtime.ports import RunStore
from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.services import old_deliveries
from factory_runtime.services.old_deliveries import drop_old_deliveries
from factory_runtime.services.sweep import sweep
from tests.builders import after
from tests.small_factory import SettableClock
from tests.two_tenants import DELIVERY, SOURCE

TENANTS = ("acme", "books", "cakes")


def a_delivery(number: int, tenant_id: str = "acme", **values: Any) -> WebhookDelivery:
    name = f"{number:064}"
    unlike = {"id": f"dlv-{number}", "delivery_id": name, "replay_key": name}
    return replace(DELIVERY, tenant_id=tenant_id, **{**unlike, **values})


def receive(store: RunStore, *deliveries: WebhookDelivery) -> None:
    for tenant_id in {one.tenant_id for one in deliveries}:
        with store.begin(tenant_id) as tx:
            tx.add_webhook_source(replace(SOURCE, tenant_id=tenant_id, id=f"hook-{tenant_id}"))
            for one in deliveries:
                if one.tenant_id == tenant_id:
                    tx.add_delivery(replace(one, source_id=f"hook-{tenant_id}"))


def kept(store: RunStore, tenant_id: str = "acme") -> list[str]:
    with store.begin(tenant_id, read_only=True) as tx:
        return [one.id for one in tx.list_deliveries(DeliveryFilter())]


@pytest.fixture
def clock() -> SettableClock:
    """At which what came at noon is just older than it is kept."""
    clock = SettableClock()
    clock.pass_time(KEPT_FOR + timedelta(seconds=1))
    return clock


def test_old_ones_go_some_at_a_time_and_what_nobody_has_decided_stays(
    run_store: RunStore, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(old_deliveries, "_AT_ONCE", 2)
    open_, recent = (
        a_delivery(8, status=DeliveryStatus.RECEIVED),
        a_delivery(9, received_at=after(1)),
    )
    receive(run_store, *map(a_delivery, range(5)), open_, recent, a_delivery(0, "books"))
    with run_store.begin("acme") as tx:
        assert tx.drop_deliveries(after(1), limit=3) == 3
    assert drop_old_deliveries(run_store, clock) == 3
    assert (kept(run_store), kept(run_store, "books")) == (["dlv-9", "dlv-8"], [])


@pytest.fixture
def impatient(postgres_url: str) -> Generator[SqlRunStore]:
    """A store that does not wait for the transactions of others."""

    def hurry(connection: Any, _: object) -> None:
        connection.execute("SET lock_timeout = 20")
        connection.commit()

    with closing(open_run_store(postgres_url)) as store:
        event.listen(store.engine, "connect", hurry)
        store.engine.dispose()
        yield store


@pytest.mark.service
@pytest.mark.parametrize("busy", TENANTS)
def test_a_tenant_whose_deliveries_are_held_keeps_no_other_s(
    impatient: SqlRunStore, postgres_store: SqlRunStore, clock: SettableClock, busy: str
):
    receive(postgres_store, *(a_delivery(0, tenant_id) for tenant_id in TENANTS))
    with postgres_store.begin(busy) as tx:
        tx.save_delivery(replace(tx.get_delivery("dlv-0"), error="somebody is at it"))
        sweep(impatient, clock)
        assert [one for one in TENANTS if kept(impatient, one)] == [busy]
    sweep(impatient, clock)
    assert kept(impatient, busy) == []
