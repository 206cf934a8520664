"""A context package that has expired is dropped by the next sweep, and no other."""

from __future__ import annotations

from datetime import timedelta

from factory_runtime.domain.memory import ContextPackage
from factory_runtime.services.sweep import sweep
from tests.builders import TENANT
from tests.small_factory import SmallFactory


def test_a_sweep_drops_the_packages_that_have_expired(factory: SmallFactory) -> None:
    now = factory.clock.now()
    for tenant_id, id_, minutes in ((TENANT, "old", 1), (TENANT, "new", 9), ("umbrella", "old", 1)):
        expires = now + timedelta(minutes=minutes)
        package = ContextPackage(tenant_id, id_, "f" * 64, (), (), 100, now, expires)
        with factory.store.begin(tenant_id) as tx:
            tx.add_package(package)
    factory.clock.pass_time(timedelta(minutes=2))
    sweep(factory.store, factory.clock)
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert tx.find_package("old") is None
        assert tx.find_package("new") is not None
    with factory.store.begin("umbrella", read_only=True) as tx:
        assert tx.find_package("old") is None
