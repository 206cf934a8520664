"""Forget what webhooks brought once it is older than it is kept."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.domain.webhook import KEPT_FOR
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.repair import each

_AT_ONCE = 1000
"""Deliveries that one transaction deletes: others of the tenant wait no longer for it than that."""


def drop_old_deliveries(store: RunStore, clock: Clock) -> int:
    """Delete the deliveries that are decided and older than they are kept; how many.

    A tenant whose deliveries cannot be deleted now keeps them until the next time, and no other's.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    before = clock.now() - KEPT_FOR
    return each(store.tenants_of_old_deliveries(before), lambda one: _drop(store, one, before))


def _drop(store: RunStore, tenant_id: str, before: datetime) -> int:
    dropped = 0
    while True:
        with store.begin(tenant_id, durable=False) as tx:
            found = tx.drop_deliveries(before, limit=_AT_ONCE)
        dropped += found
        if found < _AT_ONCE:
            return dropped
