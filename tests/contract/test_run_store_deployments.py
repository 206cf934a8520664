"""Deployments: one for each template and tenant, found by Prefect's id over all tenants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_runtime.domain.errors import StaleVersionError
from factory_runtime.domain.run import Priority
from factory_runtime.ports import RunStore
from tests.builders import TENANT, a_deployment, after


def test_a_deployment_is_found_by_its_template_and_by_prefect_s_id(run_store: RunStore) -> None:
    mine = a_deployment()
    other = a_deployment(tenant_id="umbrella", prefect_id="other", priority=Priority.LOW)
    for deployment in (mine, other):
        with run_store.begin(deployment.tenant_id) as tx:
            assert tx.find_deployment("microservice") is None
            tx.save_deployment(deployment)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.find_deployment("microservice") == mine
        assert tx.list_deployments() == (mine,)
    assert run_store.find_deployment(mine.prefect_id) == mine
    assert run_store.find_deployment("other") == other
    assert run_store.find_deployment("nobody-s") is None


def test_a_template_deployed_again_replaces_its_record(run_store: RunStore) -> None:
    first = a_deployment(withdrawn_at=after(1))
    second = replace(first, prefect_id="made-anew", version="2.0.0", withdrawn_at=None)
    for deployment in (first, second, second):
        with run_store.begin(TENANT) as tx:
            tx.save_deployment(deployment)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.list_deployments() == (second,)
    assert run_store.find_deployment(first.prefect_id) is None


@pytest.mark.parametrize("whose", [TENANT, "umbrella"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_deployment_of_prefect_s_has_one_record(
    run_store: RunStore, whose: str, *, is_there: bool
) -> None:
    mine = a_deployment()
    with run_store.begin(TENANT) as tx:
        tx.save_deployment(mine)
    taker = a_deployment(tenant_id=whose, template_id="report", prefect_id="its-own")
    if is_there:
        with run_store.begin(whose) as tx:
            tx.save_deployment(taker)
    with pytest.raises(StaleVersionError), run_store.begin(whose) as tx:
        tx.save_deployment(replace(taker, prefect_id=mine.prefect_id))
    assert run_store.find_deployment(mine.prefect_id) == mine
