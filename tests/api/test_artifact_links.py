"""Links to the bytes of artifacts: for who may have them, written down, and none of a folder."""

from __future__ import annotations

from datetime import datetime, timedelta

import httpx
import pytest

from factory_runtime.domain.access import Role
from factory_runtime.domain.audit import AuditFilter
from tests.api.laid_out import TEXT, confidential, lay_out
from tests.api.site import ApiSite, somebody
from tests.api.test_artifacts import ARTIFACTS, kept
from tests.azurite import Azurite
from tests.blobs import a_blob_storage


@pytest.fixture
def far_site(small_site: ApiSite, azurite: Azurite) -> ApiSite:
    """One whose bodies are in blob storage."""
    small_site.runtime.__dict__["storage"] = a_blob_storage(azurite)
    return small_site


@pytest.mark.service
def test_a_link_gives_the_bytes_to_whoever_has_it_and_says_until_when(far_site: ApiSite):
    there = lay_out(far_site, "shop")
    client = far_site.client(somebody())
    answer = client.post(f"{ARTIFACTS}/{there.artifact.id}/link", params={"minutes": 5})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["sha256"], told["size"]) == (there.artifact.sha256, len(TEXT))
    left = datetime.fromisoformat(told["expiresAt"]) - far_site.runtime.clock.now()
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)
    got = httpx.get(told["url"])
    assert (got.status_code, got.content) == (200, TEXT)
    assert got.headers["content-disposition"].startswith('attachment; filename="orders.md"')

    with far_site.store.begin("acme", read_only=True) as tx:
        (entry,) = tx.list_audit(AuditFilter(action="artifact.read"))
        assert tx.get_artifact(there.artifact.id).accessed_at is not None
    assert (entry.subject, entry.actor) == (there.artifact.id, "ada")
    assert datetime.fromisoformat(entry.detail["link_until"]) == datetime.fromisoformat(
        told["expiresAt"]
    )
    assert "sig" not in str(entry)


@pytest.mark.service
def test_a_link_is_for_who_may_have_the_bytes(far_site: ApiSite):
    there = lay_out(far_site, "shop")
    address, app = f"{ARTIFACTS}/{there.artifact.id}/link", far_site.app()

    def got(role: Role, project_id: str | None = None, tenant_id: str = "acme") -> int:
        client = far_site.client(somebody(tenant_id, role, project_id), app)
        return client.post(address).status_code

    assert [got(role) for role in Role] == [200] * 5
    assert got(Role.OPERATOR, "mill") == got(Role.ADMIN, None, "umbrella") == 404
    confidential(far_site, there)
    assert [got(role) for role in Role] == [403, 403, 403, 200, 200]


@pytest.mark.service
def test_there_is_no_link_to_what_is_not_there(far_site: ApiSite):
    there = lay_out(far_site, "shop")
    client, address = far_site.client(somebody()), f"{ARTIFACTS}/{there.artifact.id}/link"
    for minutes in (0, 61):
        assert client.post(address, params={"minutes": minutes}).status_code == 422
    far_site.runtime.storage.delete("acme", str(there.artifact.sha256))
    assert client.post(address).status_code == 404
    kept(far_site, there.artifact, uri="file:///git/orders.git", sha256=None)
    assert client.post(address).status_code == 404


def test_a_folder_gives_no_links_and_says_so(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    answer = small_site.client(somebody()).post(f"{ARTIFACTS}/{there.artifact.id}/link")
    assert answer.status_code == 409
    assert answer.json()["type"].endswith(":no-links")
    assert "/body" in answer.json()["hint"]
    with small_site.store.begin("acme", read_only=True) as tx:
        assert tx.get_artifact(there.artifact.id).accessed_at is None
