"""Forget what webhooks brought once it is older than it is kept."""

from __future__ import annotations

from factory_runtime.domain.webhook import KEPT_FOR
from factory_runtime.ports import Clock, RunStore


def drop_old_deliveries(store: RunStore, clock: Clock) -> int:
    """Delete the deliveries that are decided and older than they are kept; how many."""
    before, dropped = clock.now() - KEPT_FOR, 0
    for tenant_id in store.tenants_of_old_deliveries(before):
        with store.begin(tenant_id, durable=False) as tx:
            dropped += tx.drop_deliveries(before)
    return dropped
