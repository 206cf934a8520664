"""Drop the context packages that have expired."""

from __future__ import annotations

from datetime import datetime

from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.repair import each


def drop_old_packages(store: RunStore, clock: Clock) -> int:
    """How many were dropped. Nobody can read them any more.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    now = clock.now()
    return each(store.tenants_of_old_packages(now), lambda one: _drop(store, one, now))


def _drop(store: RunStore, tenant_id: str, now: datetime) -> int:
    with store.begin(tenant_id, durable=False) as tx:
        return tx.drop_packages(now)
