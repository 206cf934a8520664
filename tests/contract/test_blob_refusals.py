"""An account of blob storage that is full, disabled, or denies: said as it is, and nothing lost."""

from __future__ import annotations

import os
from collections.abc import Generator
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError

from factory_runtime.artifacts.blob import BlobArtifactStorage
from factory_runtime.artifacts.blob_body import BLOCK
from factory_runtime.artifacts.blob_errors import blob_errors
from factory_runtime.domain.errors import (
    PermanentError,
    StorageAwayError,
    StorageFullError,
    TransientError,
)
from tests.azurite import ACCOUNT, Azurite
from tests.blobs import a_place
from tests.refusing_account import Refusal, RefusingAccount, refusing_account

pytestmark = pytest.mark.service

BODY = b"kept far away"
STAGE, COMMIT = "comp=block&", "comp=blocklist"

FOR_GOOD = [
    (Refusal(403, "AccountIsDisabled"), "enabled"),
    (Refusal(403, "InsufficientAccountPermissions"), "read-only"),
    (Refusal(403, "AuthorizationFailure"), "firewall"),
    (Refusal(403, "AuthorizationPermissionMismatch"), "Storage Blob Data Owner"),
    (Refusal(403, "AuthenticationFailed"), "Storage Blob Data Owner"),
    (Refusal(409, "ContainerDisabled"), "enabled"),
    (Refusal(409, "BlobImmutableDueToPolicy"), "immutability"),
    (Refusal(413, "RequestBodyTooLarge"), ""),
]
FOR_NOW: list[tuple[Refusal, type[TransientError], int]] = [
    (Refusal(409, "AccountBeingCreated"), StorageAwayError, 1),
    (Refusal(503, "ServerBusy"), StorageAwayError, 2),
    (Refusal(507, "InsufficientStorage"), StorageFullError, 2),
]


@pytest.fixture
def account(azurite: Azurite) -> Generator[RefusingAccount]:
    with refusing_account(int(urlsplit(azurite.endpoint).port or 0)) as account:
        yield account


@pytest.fixture
def storage(azurite: Azurite, account: RefusingAccount) -> BlobArtifactStorage:
    place = a_place(azurite, f"http://127.0.0.1:{account.port}/{ACCOUNT}")
    return BlobArtifactStorage(lambda: place)


def refuse(
    account: RefusingAccount, refusal: Refusal, words: tuple[str, ...] = ("PUT ",), after: int = 0
) -> None:
    """Say so to requests with these words in them, once there were so many."""
    passed: list[str] = []

    def answer(request: str) -> Refusal | None:
        if not all(word in request for word in words):
            return None
        if len(passed) == after:
            return refusal
        passed.append(request)
        return None

    account.refuses = answer


def accept(account: RefusingAccount) -> None:
    account.refuses = lambda _: None


@pytest.mark.parametrize(("refusal", "what_to_do"), FOR_GOOD, ids=str)
def test_what_no_waiting_ends_is_not_tried_again_and_says_what_to_do(
    storage: BlobArtifactStorage, account: RefusingAccount, refusal: Refusal, what_to_do: str
):
    kept = storage.put("acme", b"from before")
    refuse(account, refusal)
    with pytest.raises(PermanentError, match=refusal.code) as caught:
        storage.put("acme", BODY)
    assert what_to_do in caught.value.explain()
    assert len(account.refused) == 1
    assert storage.read("acme", kept.digest) == b"from before"
    accept(account)
    assert storage.read("acme", storage.put("acme", BODY).digest) == BODY


@pytest.mark.parametrize(("refusal", "kind", "tries"), FOR_NOW, ids=str)
def test_what_waiting_may_end_is_tried_again_and_then_transient(
    storage: BlobArtifactStorage,
    account: RefusingAccount,
    refusal: Refusal,
    kind: type[TransientError],
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("factory_runtime.artifacts.blob_place.TRIES", 2)
    kept = storage.put("acme", b"from before")
    refuse(account, refusal)
    with pytest.raises(kind, match=refusal.code) as caught:
        storage.put("acme", BODY)
    assert caught.value.hint
    assert len(account.refused) == tries
    assert storage.read("acme", kept.digest) == b"from before"
    accept(account)
    assert storage.read("acme", storage.put("acme", BODY).digest) == BODY


@pytest.mark.parametrize(("word", "after"), [(STAGE, 1), (COMMIT, 0)], ids=["staging", "commit"])
def test_a_large_body_that_was_refused_on_the_way_is_gone_on_with(
    storage: BlobArtifactStorage, account: RefusingAccount, word: str, after: int
):
    storage.put("acme", b"the container is there")
    body, staged = os.urandom(2 * BLOCK + 1), list[str]()
    refuse(account, Refusal(403, "AccountIsDisabled"), ("PUT ", word), after)
    with pytest.raises(PermanentError, match="AccountIsDisabled"):
        storage.put("acme", body)

    def hear(request: str) -> None:
        staged.extend([request] if STAGE in request else [])

    account.refuses = hear
    stored = storage.put("acme", body)
    assert len(staged) == (2 if word == STAGE else 0)
    assert storage.read("acme", stored.digest) == body


def test_who_reads_from_an_account_that_is_disabled_is_not_told_that_it_is_gone(
    storage: BlobArtifactStorage, account: RefusingAccount
):
    stored = storage.put("acme", BODY)
    # What has no body, like the answer to HEAD, says why in a header alone.
    account.refuses = lambda _: Refusal(403, "AccountIsDisabled")
    for look in (storage.exists, storage.open, storage.read, storage.verify, storage.delete):
        with pytest.raises(PermanentError, match="AccountIsDisabled"):
            look("acme", stored.digest)
    accept(account)
    assert storage.read("acme", stored.digest) == BODY


@pytest.mark.parametrize("kind", [ClientAuthenticationError, CredentialUnavailableError])
def test_an_identity_that_is_none_is_told_at_once(kind: type[ClientAuthenticationError]):
    """Entra refuses it, so that there is no answer of the storage's."""
    with pytest.raises(PermanentError, match="refuses us"), blob_errors("factory-acme"):
        raise kind("AADSTS7000215: Invalid client secret provided")
