"""Forgetting over HTTP: by who administers it, of their own, and as often as they like."""

from __future__ import annotations

from fastapi.testclient import TestClient

from factory_runtime.domain.access import Role
from factory_runtime.domain.run import RunStatus
from tests.api.site import ApiSite, somebody
from tests.builders import TENANT, a_memory, a_run

MEMORY = "/api/v1/memory"


def taught(site: ApiSite) -> None:
    """A run of each of two projects, what they taught, and what another tenant's run did."""
    for tenant_id in (TENANT, "umbrella"):
        with site.store.begin(tenant_id) as tx:
            for project_id in ("shop", "mill"):
                run_id = f"run-of-{project_id}"
                status = RunStatus.SUCCEEDED
                facts = {"id": run_id, "tenant_id": tenant_id, "project_id": project_id}
                tx.add_run(a_run(status=status, **facts))
                of_run = {"tenant_id": tenant_id, "run_id": run_id, "project_id": project_id}
                tx.save_memories([a_memory(id=f"mem-{project_id}", **of_run)])


def left(site: ApiSite, tenant_id: str = TENANT) -> set[str]:
    with site.store.begin(tenant_id, read_only=True) as tx:
        return {memory.id for memory in tx.list_memories()}


def erased(client: TestClient, path: str) -> int:
    answer = client.delete(MEMORY + path)
    assert answer.status_code == 200, answer.text
    return answer.json()["memories"]


def status(client: TestClient, path: str) -> int:
    return client.delete(MEMORY + path).status_code


def test_an_admin_has_a_run_a_project_and_all_of_the_tenant_forgotten(small_site: ApiSite) -> None:
    taught(small_site)
    admin = small_site.client(somebody())
    assert erased(admin, "/runs/run-of-shop") == 1
    assert erased(admin, "/runs/run-of-shop") == 0, "an answer that was lost is asked for again"
    assert left(small_site) == {"mem-mill"}
    assert erased(admin, "/projects/mill") == 1
    assert status(admin, "?tenant=umbrella") == 422
    assert status(admin, "") == 422, "a path that was cut short erases nothing"
    assert erased(admin, f"?tenant={TENANT}") == 0
    assert left(small_site, "umbrella") == {"mem-shop", "mem-mill"}
    assert status(admin, "/runs/run-of-nobody") == status(admin, "/projects/none") == 404


def test_an_admin_of_one_project_has_only_that_forgotten(small_site: ApiSite) -> None:
    taught(small_site)
    app = small_site.app()
    bob = small_site.client(somebody(role=Role.ADMIN, project_id="shop", name="bob"), app)
    assert status(bob, "/runs/run-of-mill") == status(bob, "/runs/run-of-nobody") == 404
    assert status(bob, "/projects/mill") == status(bob, f"?tenant={TENANT}") == 403
    assert erased(bob, "/projects/shop") == 1
    assert left(small_site) == {"mem-mill"}


def test_nobody_else_has_anything_forgotten(small_site: ApiSite) -> None:
    taught(small_site)
    operator = small_site.client(somebody(role=Role.OPERATOR))
    for path in ("/runs/run-of-shop", "/projects/shop", f"?tenant={TENANT}"):
        assert status(operator, path) == 403
    assert left(small_site) == {"mem-shop", "mem-mill"}
