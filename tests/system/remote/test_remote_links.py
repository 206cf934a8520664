"""Links to the bytes of artifacts, here and by a Factory API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from factory_runtime.domain.audit import AuditFilter
from tests.api.laid_out import TEXT
from tests.azurite import Azurite
from tests.blobs import a_blob_storage
from tests.cli_home import Said
from tests.far import Far, me


@pytest.fixture
def in_blobs(far: Far, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Far:
    """One whose bodies are in blob storage."""
    monkeypatch.setitem(far.site.runtime.__dict__, "storage", a_blob_storage(azurite))
    far.site.runtime.storage.put("acme", TEXT)
    return far


def typed(far: Far, way: str, *words: str) -> Said:
    asked = ("artifacts", "get", far.laid.artifact.id, *words)
    return far.here(*asked) if way == "here" else far.typed(*asked)


def readings(far: Far) -> int:
    with far.site.store.begin("acme", read_only=True) as tx:
        return len(tx.list_audit(AuditFilter(action="artifact.read")))


@pytest.mark.service
@pytest.mark.parametrize("way", ["here", "by the API"])
def test_a_link_gives_the_bytes_and_is_alone_on_standard_output(in_blobs: Far, way: str):
    before = readings(in_blobs)
    said = typed(in_blobs, way, "--link")
    assert said.code == 0, said.err
    assert str(in_blobs.laid.artifact.sha256) in said.err
    assert httpx.get(said.out.removesuffix("\n")).content == TEXT
    link = typed(in_blobs, way, "--link", "--for", "5m", "--json").json["link"]
    assert httpx.get(link["url"]).content == TEXT
    left = datetime.fromisoformat(link["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=3) < left <= timedelta(minutes=5)
    assert readings(in_blobs) == before + 2


@pytest.mark.service
@pytest.mark.parametrize("way", ["here", "by the API"])
def test_no_link_leads_to_what_is_not_there(in_blobs: Far, way: str):
    in_blobs.site.runtime.storage.delete("acme", str(in_blobs.laid.artifact.sha256))
    assert typed(in_blobs, way, "--link").code == 3


@pytest.mark.parametrize("way", ["here", "by the API"])
def test_a_folder_gives_no_links_and_says_what_gives_the_bytes(far: Far, way: str):
    before = readings(far)
    said = typed(far, way, "--link")
    assert (said.code, said.out) == (4, "")
    assert "gives no links" in said.err
    assert "factory artifacts get" in said.err
    assert readings(far) == before


@pytest.mark.parametrize(
    "words",
    [
        ("--for", "5m"),
        ("--link", "--for", "61m"),
        ("--link", "--for", "30s"),
        ("--link", "--for", "soon"),
        ("--link", "--output", "copy"),
    ],
)
@pytest.mark.parametrize("way", ["here", "by the API"])
def test_it_must_be_clear_how_long_a_link_is_good(far: Far, way: str, words: tuple[str, ...]):
    assert typed(far, way, *words).code == 2


def test_who_may_not_read_gets_no_link(far: Far):
    assert typed(far, "by the API", "--link").code == 4  # a folder gives none
    nobody = far.site.token(me("umbrella"))
    said = far.typed("artifacts", "get", far.laid.artifact.id, "--link", key=nobody)
    assert said.code == 3
