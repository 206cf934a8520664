"""Links to one body: good for reading it, for a while, and for nothing else."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from azure.core.credentials import AccessToken

from factory_runtime.artifacts.blob import BlobArtifactStorage
from factory_runtime.artifacts.blob_place import BlobPlace
from tests.azurite import Azurite, running_azurite
from tests.blobs import a_place
from tests.data_server import a_certificate

pytestmark = pytest.mark.service

OBJECT = "11059fcc-5514-4800-b5f8-49808b9cfab6"
BODY = b"<script>alert(1)</script>"
DISPOSITION = "attachment; filename=\"notes.html\"; filename*=UTF-8''notes.html"


class Identity:
    """A token like Entra's, which nobody signed: Azurite does not look.

    Claims: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
    """

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        now = int(time.time())
        claims: dict[str, Any] = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/of-ours/",
            "iat": now,
            "nbf": now - 60,
            "exp": now + 3600,
            "oid": OBJECT,
            "tid": "of-ours",
        }
        return AccessToken(jwt.encode(claims, "k" * 32), now + 3600)


def identity_of(place: BlobPlace) -> Identity:
    del place
    return Identity()


def link(storage: BlobArtifactStorage, digest: str, seconds: float = 300) -> str:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    found = storage.link(
        "acme", digest, until=until, disposition=DISPOSITION, media_type="text/plain"
    )
    assert found is not None
    return found


@pytest.fixture
def storage(azurite: Azurite) -> BlobArtifactStorage:
    place = a_place(azurite)
    return BlobArtifactStorage(lambda: place)


def test_a_link_reads_one_body_for_a_while_and_does_nothing_else(storage: BlobArtifactStorage):
    digest, other = storage.put("acme", BODY).digest, storage.put("acme", b"another").digest
    good = link(storage, digest)
    answer = httpx.get(good)
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["content-disposition"] == DISPOSITION
    assert answer.headers["content-type"] == "text/plain"

    assert httpx.get(good.replace(digest, other).replace(digest[:2], other[:2])).status_code == 403
    assert httpx.delete(good).status_code == 403
    blob = {"x-ms-blob-type": "BlockBlob"}
    assert httpx.put(good, content=b"forged", headers=blob).status_code == 403
    folder, query = good.split("/sha256/")[0], good.split("?")[1]
    assert httpx.get(f"{folder}?restype=container&comp=list&{query}").status_code == 403
    assert httpx.get(good.replace("plain", "html")).status_code == 403
    assert httpx.get(link(storage, digest, seconds=-1)).status_code == 403

    storage.delete("acme", digest)
    assert httpx.get(good).status_code == 404
    assert (storage.put("acme", BODY).digest, httpx.get(good).content) == (digest, BODY)
    told = parse_qs(urlsplit(good).query)
    assert (told["sp"], told["sr"]) == (["r"], ["b"])


def test_who_is_there_by_a_signature_gives_none_away(azurite: Azurite):
    place = a_place(azurite)
    digest = BlobArtifactStorage(lambda: place).put("acme", BODY).digest
    told = f"BlobEndpoint={azurite.endpoint};SharedAccessSignature={azurite.token()}"
    signed = replace(place, connection_string=told)
    until = datetime.now(UTC) + timedelta(minutes=5)
    found = BlobArtifactStorage(lambda: signed).link(
        "acme", digest, until=until, disposition=DISPOSITION, media_type="text/plain"
    )
    assert found is None


def test_an_identity_signs_with_a_key_that_azure_lends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Azurite lends one, but knows what is signed with it as it was before 2026: it is not opened.

    https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas
    """
    certificate = a_certificate(tmp_path, "localhost")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(BlobPlace, "_identity", identity_of)
    with running_azurite(certificate=certificate) as azurite:
        place = BlobPlace.of_account("factory", azurite.endpoint)
        storage = BlobArtifactStorage(lambda: place)
        digest = storage.put("acme", BODY).digest
        assert storage.read("acme", digest) == BODY
        told = parse_qs(urlsplit(link(storage, digest)).query)
    assert (told["sp"], told["sr"], told["spr"]) == (["r"], ["b"], ["https"])
    assert (told["skoid"], told["sktid"]) == ([OBJECT], ["of-ours"])
    assert told["skt"][0] < told["se"][0] < told["ske"][0]
    assert told["rscd"] == [DISPOSITION]
    assert "rsct" in told
