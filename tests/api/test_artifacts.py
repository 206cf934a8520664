"""Artifacts over HTTP: their records, and their bytes, which nobody can take for a page of ours."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.downloads import span_of
from factory_runtime.domain.access import Role
from factory_runtime.domain.artifact import Artifact, ArtifactType, Classification
from factory_runtime.domain.download import disposition
from tests.api.laid_out import TEXT, lay_out
from tests.api.site import ApiSite, somebody

ARTIFACTS = "/api/v1/artifacts"


def kept(site: ApiSite, artifact: Artifact, **changes: Any) -> str:
    """Record it otherwise; the address of its bytes."""
    with site.store.begin(artifact.tenant_id) as tx:
        tx.add_artifacts([replace(artifact, **changes)])
    return f"{ARTIFACTS}/{artifact.id}/body"


def body_file(site: ApiSite, artifact: Artifact) -> Path:
    (found,) = site.runtime.settings.artifacts_folder.rglob(str(artifact.sha256))
    return found


def test_bytes_come_as_a_file_that_no_browser_opens(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    client = small_site.client(somebody())
    address = kept(small_site, there.artifact, media_type="text/html\r\nX-Evil: 1")
    answer = client.get(address)
    assert (answer.status_code, answer.content) == (200, TEXT)
    headers = answer.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith('attachment; filename="orders.md"')
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["etag"] == f'"{there.artifact.sha256}"'
    assert int(headers["content-length"]) == len(TEXT)
    assert "x-evil" not in headers
    kept(small_site, there.artifact, media_type="text/markdown; charset=utf-8")
    assert client.get(address).headers["content-type"] == "text/markdown; charset=utf-8"
    record = client.get(f"{ARTIFACTS}/{there.artifact.id}").json()
    assert record["accessedAt"] is not None
    assert record["hasBody"] is True


def test_what_is_known_is_not_sent_and_a_part_is_sent_alone(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    client = small_site.client(somebody())
    address, tag = f"{ARTIFACTS}/{there.artifact.id}/body", f'"{there.artifact.sha256}"'
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = client.get(address, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
    part = client.get(address, headers={"Range": "bytes=2-7", "If-Range": tag})
    assert (part.status_code, part.content) == (206, TEXT[2:8])
    assert part.headers["content-range"] == f"bytes 2-7/{len(TEXT)}"
    behind = client.get(address, headers={"Range": "bytes=1000-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(TEXT)}")
    stale = client.get(address, headers={"Range": "bytes=2-7", "If-Range": '"another"'})
    assert (stale.status_code, stale.content) == (200, TEXT)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("bytes=0x1-2", None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("lines=1-2", None),
        (None, None),
    ],
)
def test_a_range_is_one_that_can_be_read(asked: str | None, part: tuple[int, int] | None):
    found = span_of(asked, 10)
    assert (found if found is None else (found.start, found.stop)) == part


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("docs/readme.md", "readme.md"),
        ("..\\..\\boot.ini", "boot.ini"),
        ('a"; filename="b.exe', "a__ filename__b.exe"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie_ x"),
        ("..", "artifact"),
        ("", "artifact"),
        ("...hidden", "hidden"),
        ("übersicht.pdf", "_bersicht.pdf"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}fdp.exe", "fdp.exe"),
        ("x" * 5000, "x" * 150),
    ],
)
def test_a_name_is_a_plain_file_s(name: str, plain: str):
    assert disposition(name).startswith(f'attachment; filename="{plain}"; filename*=UTF-8')


def test_damaged_bytes_are_a_problem_and_not_half_an_answer(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    client = small_site.client(somebody())
    address, file = f"{ARTIFACTS}/{there.artifact.id}/body", body_file(small_site, there.artifact)
    file.chmod(0o600)
    file.write_bytes(TEXT[:-1] + b"!")
    answer = client.get(address, headers={"Range": "bytes=0-3"})
    assert answer.status_code == 500
    assert answer.json()["type"].endswith(":corrupt-artifact")
    file.unlink()
    gone = client.get(address)
    assert (gone.status_code, "gone" in gone.json()["detail"]) == (404, True)
    elsewhere = kept(small_site, there.artifact, uri="file:///git/orders.git", sha256=None)
    assert client.get(elsewhere, headers={"If-None-Match": "*"}).status_code == 404


def test_what_is_confidential_is_for_operators_of_its_project(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    address = kept(small_site, there.artifact, classification=Classification.CONFIDENTIAL)
    app = small_site.app()

    def got(role: Role, project_id: str | None = None, tenant_id: str = "acme") -> int:
        client: TestClient = small_site.client(somebody(tenant_id, role, project_id), app)
        return client.get(address).status_code

    assert [got(role) for role in Role] == [403, 403, 403, 200, 200]
    assert got(Role.OPERATOR, "shop") == 200
    assert got(Role.OPERATOR, "mill") == got(Role.ADMIN, None, "umbrella") == 404


def test_artifacts_are_listed_in_parts_within_the_projects(small_site: ApiSite):
    shop, mill = lay_out(small_site, "shop"), lay_out(small_site, "mill")
    app = small_site.app()
    admin = small_site.client(somebody(), app)
    bob = small_site.client(somebody(role=Role.VIEWER, project_id="mill", name="bob"), app)

    def listed(client: TestClient, **asked: str) -> list[str]:
        items = client.get(ARTIFACTS, params=asked).json()["items"]
        return [one["artifactId"] for one in items]

    assert listed(admin) == [mill.artifact.id, shop.artifact.id]
    assert listed(admin, kind="document", project="shop") == [shop.artifact.id]
    assert listed(admin, run=mill.failed) == [mill.artifact.id]
    assert listed(bob) == [mill.artifact.id]
    assert bob.get(f"{ARTIFACTS}/{shop.artifact.id}").status_code == 404
    more = admin.get(ARTIFACTS, params={"limit": 1}).json()["nextCursor"]
    assert listed(admin, cursor=more) == [shop.artifact.id]


# --- who may read, and how long it is kept


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ArtifactType.GENERATED_FILE, [200, 200, 200, 200, 200]),
        (ArtifactType.ANALYSIS_RESULT, [200, 200, 200, 200, 200]),
        (ArtifactType.DATA_EXPORT, [403, 403, 403, 200, 200]),
        (ArtifactType.MESSAGE_CONTENT, [403, 403, 403, 403, 403]),
    ],
)
def test_the_type_says_who_may_read(small_site: ApiSite, kind: ArtifactType, expected: list[int]):
    there = lay_out(small_site, "shop")
    address = kept(small_site, there.artifact, type=kind)
    app = small_site.app()
    with small_site.store.begin("acme") as tx:
        asked_by = tx.get_run(there.failed).requested_by

    def got(role: Role, name: str, project_id: str | None = None) -> int:
        who = somebody(role=role, project_id=project_id, name=name)
        return small_site.client(who, app).get(address).status_code

    assert [got(role, "eve") for role in Role] == expected
    assert got(Role.VIEWER, asked_by) == 200
    assert got(Role.VIEWER, asked_by, "mill") == 404


def test_what_has_expired_nobody_gets_unless_it_is_held(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    client = small_site.client(somebody())
    record, body = f"{ARTIFACTS}/{there.artifact.id}", f"{ARTIFACTS}/{there.artifact.id}/body"
    now = small_site.runtime.clock.now()
    assert client.post(f"{record}/expiry", json={"expiresAt": "2027-01-01"}).status_code == 422
    told = client.post(f"{record}/expiry", json={"expiresAt": now.isoformat()})
    assert (told.status_code, told.json()["hasBody"]) == (200, True)
    again = client.post(f"{record}/expiry", json={"expiresAt": now.isoformat()})
    assert again.json() == told.json()
    with small_site.store.begin("acme", read_only=True) as tx:
        said = [one for one in tx.list_audit() if one.action == "artifact.expire"]
    assert len(said) == 1
    gone = client.get(body)
    assert (gone.status_code, "has expired" in gone.json()["detail"]) == (404, True)
    wanted = {"scope": "artifact", "subjectId": there.artifact.id, "reason": "asked for"}
    held = client.post("/api/v1/holds", json=wanted)
    assert (held.status_code, held.json()["releasedAt"]) == (201, None)
    assert client.get(body).content == TEXT
    (one,) = client.get("/api/v1/holds").json()["items"]
    release = f"/api/v1/holds/{one['holdId']}/release"
    released = client.post(release).json()
    assert released["releasedBy"] == client.post(release).json()["releasedBy"] == "ada"
    assert client.get(body).status_code == 404
    assert client.get("/api/v1/holds").json()["items"] == []
    assert len(client.get("/api/v1/holds?released=true").json()["items"]) == 1
    client.post(f"{record}/expiry", json={})
    assert client.get(body).content == TEXT


def test_only_the_whole_of_it_is_a_download(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    client = small_site.client(somebody())
    address = kept(small_site, there.artifact, once_downloaded=True)
    record = f"{ARTIFACTS}/{there.artifact.id}"
    client.get(address, headers={"Range": "bytes=0-3"})
    assert client.get(record).json()["expiresAt"] is None
    assert client.get(address).content == TEXT
    expires_at = client.get(record).json()["expiresAt"]
    assert expires_at is not None
    assert client.get(address).content == TEXT  # what arrived may have been lost
    assert client.get(record).json()["expiresAt"] == expires_at


def test_when_it_was_read_last_is_known_to_the_minute(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    client, record = small_site.client(somebody()), f"{ARTIFACTS}/{there.artifact.id}"
    now = small_site.runtime.clock.now()

    def read_after(seconds: int) -> str:
        kept(small_site, there.artifact)
        with small_site.store.begin("acme") as tx:
            tx.touch_artifact(there.artifact.id, now - timedelta(seconds=seconds))
        client.get(f"{record}/body")
        return client.get(record).json()["accessedAt"]

    just_now = now - timedelta(seconds=30)
    assert datetime.fromisoformat(read_after(30)) == just_now
    assert datetime.fromisoformat(read_after(90)) >= now


def test_who_keeps_and_who_holds_is_of_the_project(small_site: ApiSite):
    there = lay_out(small_site, "shop")
    app = small_site.app()
    subjects = {"run": there.failed, "artifact": there.artifact.id}
    for scope, subject in subjects.items():
        wanted = {"scope": scope, "subjectId": subject, "reason": "asked for"}
        for role, project, status in (
            (Role.REQUESTER, "shop", 403),
            (Role.OPERATOR, "mill", 404),
            (Role.OPERATOR, "shop", 201),
        ):
            client = small_site.client(somebody(role=role, project_id=project), app)
            assert client.post("/api/v1/holds", json=wanted).status_code == status
        stranger = small_site.client(somebody("umbrella"), app)
        assert stranger.post("/api/v1/holds", json=wanted).status_code == 404
    operator = small_site.client(somebody(role=Role.OPERATOR, project_id="shop"), app)
    (hold, _) = operator.get("/api/v1/holds").json()["items"]
    assert operator.post(f"/api/v1/holds/{hold['holdId']}/release").status_code == 403
    nothing = {"scope": "run", "subjectId": there.failed, "reason": " "}
    assert operator.post("/api/v1/holds", json=nothing).status_code in (400, 422)
