"""Bodies in Azure's blob storage: what its names, its network and others there do to them."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from factory_runtime.artifacts import blob_body
from factory_runtime.artifacts.blob import BlobArtifactStorage, container_of
from factory_runtime.artifacts.blob_body import BLOCK, Body
from factory_runtime.artifacts.blob_place import PIECE, BlobPlace
from factory_runtime.artifacts.blob_stream import AHEAD
from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    PermanentError,
    SettingsError,
    StorageAwayError,
)
from factory_runtime.settings import Settings
from tests.azurite import ACCOUNT, Azurite, running_azurite
from tests.blobs import a_place, blob_of, connection
from tests.cut_line import CutLine, cut_line

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

pytestmark = pytest.mark.service

BODY = b"kept far away"
MIB = 1024 * 1024
STAGE = "comp=block&"
SLUGS = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fullmatch=True)


def kept_at(place: BlobPlace) -> BlobArtifactStorage:
    return BlobArtifactStorage(lambda: place)


@pytest.fixture
def place(azurite: Azurite) -> BlobPlace:
    return a_place(azurite)


@pytest.fixture
def storage(place: BlobPlace) -> BlobArtifactStorage:
    return kept_at(place)


@pytest.fixture
def line(azurite: Azurite) -> Generator[CutLine]:
    with cut_line(int(urlsplit(azurite.endpoint).port or 0)) as line:
        yield line


def by(line: CutLine, azurite: Azurite, place: BlobPlace) -> BlobPlace:
    """The same containers, along a line."""
    endpoint = f"http://127.0.0.1:{line.port}/{ACCOUNT}"
    return replace(place, connection_string=connection(azurite, endpoint))


def container(place: BlobPlace, tenant: str = "acme") -> ContainerClient:
    return place.client().get_container_client(container_of(place.prefix, tenant))


@settings(max_examples=30)
@given(SLUGS, SLUGS)
def test_each_tenant_has_a_container_of_its_own_that_azure_allows(one: str, other: str):
    names = {container_of("f" * 20, one), container_of("f" * 20, other)}
    assert len(names) == len({one, other})
    for name in names:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert 3 <= len(name) <= 63


def test_a_tenant_that_is_called_like_a_container_of_another_does_not_get_it(
    place: BlobPlace, storage: BlobArtifactStorage
):
    stored = storage.put("acme", BODY)
    name = container_of(place.prefix, "acme")
    forged = (name, name.removeprefix(f"{place.prefix}-"), "acme-", "a.c.m.e", "acme.", "acme_")
    for tenant in (each.rstrip("-._") for each in forged):
        if tenant != "acme":
            assert container_of(place.prefix, tenant) != name
            assert not storage.exists(tenant, stored.digest)


def test_a_body_says_whose_it_is_to_who_looks_for_blobs_by_tags(
    place: BlobPlace, storage: BlobArtifactStorage
):
    small, large = storage.put("acme", BODY), storage.put("acme", os.urandom(BLOCK + 1))
    for stored in (small, large):
        assert blob_of(place, stored.digest).get_blob_tags() == {"tenant": "acme"}


@pytest.mark.parametrize("size", [5, BLOCK + 5])
def test_damage_is_noticed_and_mended_by_the_next_put(
    place: BlobPlace, storage: BlobArtifactStorage, size: int
):
    body = bytes(size)
    stored = storage.put("acme", body)
    blob_of(place, stored.digest).upload_blob(body[:-1] + b"!", overwrite=True)
    assert not storage.verify("acme", stored.digest)
    with pytest.raises(CorruptArtifactError, match=stored.digest):
        storage.read("acme", stored.digest)
    storage.put("acme", body)
    assert storage.read("acme", stored.digest) == body


def test_what_is_there_is_not_written_again(azurite: Azurite, place: BlobPlace, line: CutLine):
    body = os.urandom(BLOCK + 1)
    storage = kept_at(by(line, azurite, place))
    small, large = storage.put("acme", BODY), storage.put("acme", body)
    etags = [blob_of(place, stored.digest).get_blob_properties().etag for stored in (small, large)]
    staged = line.count(STAGE)
    assert (storage.put("acme", BODY), storage.put("acme", io.BytesIO(body))) == (small, large)
    assert line.count(STAGE) == staged == 2
    assert etags == [
        blob_of(place, stored.digest).get_blob_properties().etag for stored in (small, large)
    ]


def test_a_container_that_somebody_removed_is_made_anew(
    place: BlobPlace, storage: BlobArtifactStorage
):
    stored = storage.put("acme", BODY)
    container(place).delete_container()
    assert not storage.exists("acme", stored.digest)
    assert not storage.verify("acme", stored.digest)
    storage.delete("acme", stored.digest)
    with pytest.raises(ArtifactNotFoundError, match=stored.digest):
        storage.read("acme", stored.digest)
    assert storage.read("acme", storage.put("acme", BODY).digest) == BODY


def test_who_reads_a_body_that_goes_meanwhile_is_told_and_gets_no_other(
    place: BlobPlace, storage: BlobArtifactStorage
):
    body = os.urandom((AHEAD + 3) * PIECE)
    digest = storage.put("acme", body).digest
    with storage.open("acme", digest) as stream:
        assert stream.read(PIECE) == body[:PIECE]
        blob_of(place, digest).upload_blob(body[::-1], overwrite=True)
        with pytest.raises(StorageAwayError, match="replaced"):
            stream.read()
    storage.put("acme", body)
    with storage.open("acme", digest) as stream:
        assert stream.read(PIECE) == body[:PIECE]
        storage.delete("acme", digest)
        with pytest.raises(ArtifactNotFoundError):
            stream.read()


def test_an_upload_that_is_cut_goes_on(azurite: Azurite, place: BlobPlace, line: CutLine):
    body = os.urandom(2 * BLOCK + 5)
    storage = kept_at(by(line, azurite, place))
    storage.put("acme", BODY)
    line.cut_up = 3 * MIB
    stored = storage.put("acme", io.BytesIO(body))
    assert line.cuts == 1
    assert line.count(STAGE) == 4  # three, and one of them again
    assert storage.read("acme", stored.digest) == body
    assert len(list(container(place).list_blobs())) == 2


def test_a_download_that_is_cut_goes_on(azurite: Azurite, place: BlobPlace, line: CutLine):
    body = os.urandom(2 * PIECE + 5)
    storage = kept_at(by(line, azurite, place))
    stored = storage.put("acme", body)
    line.cut_down = 3 * MIB
    assert storage.read("acme", stored.digest) == body
    assert line.cuts == 1


def zeros_in_child(place: BlobPlace, mebibytes: int) -> subprocess.Popen[str]:
    code = "import sys, tests.blobs as t; t.put_zeros(*sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", code, place.prefix, str(place.connection_string), str(mebibytes)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_upload_that_is_killed_is_gone_on_with_by_the_next(
    azurite: Azurite, place: BlobPlace, line: CutLine
):
    size = 12 * BLOCK
    digest = hashlib.sha256(bytes(size)).hexdigest()
    child = zeros_in_child(by(line, azurite, place), size // MIB)

    def kill_at_the_sixth(_: str) -> None:
        if line.count(STAGE) == 6:
            child.send_signal(signal.SIGKILL)

    line.heard = kill_at_the_sixth
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    storage = kept_at(by(line, azurite, place))
    assert not storage.exists("acme", digest)
    _, left = blob_of(place, digest).get_block_list("uncommitted")
    assert 2 <= len(left) <= 6

    before = line.count(STAGE)
    assert storage.put("acme", io.BytesIO(bytes(size))).digest == digest
    assert 0 < line.count(STAGE) - before <= 12 - len(left)
    assert storage.verify("acme", digest)


def test_what_an_upload_with_smaller_blocks_has_left_is_not_taken_for_ours(
    place: BlobPlace, storage: BlobArtifactStorage, monkeypatch: pytest.MonkeyPatch
):
    body = os.urandom(2 * BLOCK)
    storage.put("acme", b"there is a container now")
    with monkeypatch.context() as before, read_body_of(body, BLOCK // 2, before) as smaller:
        blob = blob_of(place, smaller.stored.digest)
        for name, content in smaller.read():
            blob.stage_block(name, content)
    assert storage.read("acme", storage.put("acme", body).digest) == body


@contextmanager
def read_body_of(body: bytes, block: int, patch: pytest.MonkeyPatch) -> Generator[Body]:
    """As another release reads it, whose blocks were of another size."""
    patch.setattr(blob_body, "BLOCK", block)
    with blob_body.read_body(body) as read:
        yield read


@pytest.mark.parametrize("mebibytes", [64, pytest.param(2048, marks=pytest.mark.soak)])
def test_a_large_body_needs_little_memory(place: BlobPlace, mebibytes: int):
    child = zeros_in_child(place, mebibytes)
    said, complaint = child.communicate()
    assert child.returncode == 0, complaint
    assert int(said) < 200 * 1024, "KiB, all in all"


class Changing(io.BytesIO):
    """Is another when it is read again."""

    def __init__(self, body: bytes, change: Callable[[io.BytesIO], object]) -> None:
        super().__init__(body)
        self._change = change

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._change(self)
        return super().seek(offset, whence)


def first_byte(body: io.BytesIO) -> None:
    body.getbuffer()[0] = 1


def last_byte(body: io.BytesIO) -> None:
    body.getbuffer()[-1] = 1


def one_more(body: io.BytesIO) -> None:
    body.write(b"!")


def one_less(body: io.BytesIO) -> None:
    body.truncate(len(body.getbuffer()) - 1)


@pytest.mark.parametrize("change", [first_byte, last_byte, one_more, one_less])
@pytest.mark.parametrize("size", [5, BLOCK + 5])
def test_a_body_that_is_changed_while_it_is_sent_is_not_stored(
    place: BlobPlace,
    storage: BlobArtifactStorage,
    size: int,
    change: Callable[[io.BytesIO], object],
):
    with pytest.raises(CorruptArtifactError, match="changed while it was sent"):
        storage.put("acme", Changing(bytes(size), change))
    assert list(container(place).list_blobs()) == []
    # Nor has it left anything that would be taken for a part of what it was.
    assert storage.read("acme", storage.put("acme", bytes(size)).digest) == bytes(size)


def test_a_stream_is_stored_from_where_it_is(storage: BlobArtifactStorage):
    body = os.urandom(BLOCK + 5)
    for size in (3, len(body) - 1):
        stream = io.BytesIO(body)
        stream.seek(len(body) - size)
        stored = storage.put("acme", stream)
        assert storage.read("acme", stored.digest) == body[-size:]


def test_two_who_send_one_large_body_at_once_leave_one(place: BlobPlace):
    body = os.urandom(2 * BLOCK + 1)
    with ThreadPoolExecutor(2) as pool:
        stored = set(pool.map(kept_at(place).put, ["acme"] * 4, [body] * 4))
    assert len(stored) == 1
    assert kept_at(place).read("acme", stored.pop().digest) == body
    assert len(list(container(place).list_blobs())) == 1


def test_blocks_that_another_writer_let_go_of_are_sent_again(
    azurite: Azurite, place: BlobPlace, line: CutLine
):
    """Whoever commits lets go of all blocks that are not in his list; so does who deletes."""
    body = os.urandom(2 * BLOCK)
    storage = kept_at(by(line, azurite, place))
    digest = hashlib.sha256(body).hexdigest()

    def let_go_once(request: str) -> None:
        if "comp=blocklist" in request and request.startswith("PUT"):
            line.heard = lambda _: None
            other = blob_of(place, digest)
            other.upload_blob(b"", overwrite=True)
            other.delete_blob()

    storage.put("acme", BODY)
    line.heard = let_go_once
    assert storage.put("acme", body).digest == digest
    assert storage.read("acme", digest) == body


@pytest.mark.parametrize("way", ["key", "signature"])
def test_who_is_not_let_in_is_told_so_and_shows_no_secret(
    azurite: Azurite, place: BlobPlace, way: str
):
    if way == "key":
        secret = "bm90IHRoZSBhY2NvdW50J3M="  # noqa: S105 - nobody's
        given = connection(azurite).replace(azurite.key, secret)
    else:
        token = azurite.token()
        secret = token.split("sig=")[1]
        given = f"BlobEndpoint={azurite.endpoint};SharedAccessSignature={token}"
    storage = kept_at(replace(place, connection_string=given))
    with pytest.raises(PermanentError, match="refuses us") as caught:
        storage.put("acme", BODY)
    assert "Storage Blob Data Owner" in caught.value.explain()
    assert secret not in "".join(traceback.format_exception(caught.value))
    assert secret not in repr(storage._find_place())  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "account", ["", "s3cr3t", "AccountName=acme;AccountKey", "http://acme.blob.core.windows.net"]
)
def test_an_account_that_makes_no_sense_is_refused_without_being_shown(account: str):
    with pytest.raises(SettingsError) as caught:
        kept_at(BlobPlace.of_account("factory", account)).exists("acme", "0" * 64)
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def test_the_settings_say_where_bodies_go(azurite: Azurite, place: BlobPlace, tmp_path: Path):
    told: dict[str, Any] = {"home": tmp_path, "artifact_storage": f"az://{place.prefix}"}
    account = SecretStr(connection(azurite))
    storage = open_runtime(Settings(**told, artifact_account=account)).storage
    stored = storage.put("acme", BODY)
    assert blob_of(place, stored.digest).exists()
    assert not (tmp_path / "artifacts").exists()
    with pytest.raises(SettingsError) as caught:
        open_runtime(Settings(**told)).storage  # noqa: B018 - it is opened
    assert "FACTORY_ARTIFACT_ACCOUNT" in caught.value.explain()


def test_storage_that_is_away_is_said_to_be(
    azurite: Azurite, place: BlobPlace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("factory_runtime.artifacts.blob_place.TRIES", 1)
    with cut_line(1) as line:
        storage = kept_at(by(line, azurite, place))
        with pytest.raises(StorageAwayError, match="does not answer"):
            storage.put("acme", BODY)
        with pytest.raises(StorageAwayError, match="does not answer"):
            storage.exists("acme", "0" * 64)


@pytest.mark.soak
def test_a_restart_under_load_loses_nothing_that_was_stored():
    with running_azurite(keeps=True) as azurite:
        place = a_place(azurite)
        storage = kept_at(place)
        kept: list[str] = []
        stop = threading.Event()

        def load(size: int) -> None:
            while not stop.is_set():
                body = os.urandom(size)
                with suppress(StorageAwayError):
                    kept.append(storage.put("acme", io.BytesIO(body)).digest)
                    assert storage.read("acme", kept[-1]) == body

        def until_more_is_kept() -> None:
            enough = len(kept) + 6
            while len(kept) < enough:
                time.sleep(0.05)

        with ThreadPoolExecutor(3) as pool:
            loads = [pool.submit(load, size) for size in (10, 10_000, BLOCK + 10)]
            for _ in range(3):
                until_more_is_kept()
                azurite.restart()
                assert azurite.endpoint  # it answers again
            until_more_is_kept()
            stop.set()
        assert [each.result() for each in loads] == [None] * 3
        # There may be more: who stored it was not told. None of it is half.
        names = {blob.name.rsplit("/")[-1] for blob in container(place).list_blobs()}
        assert set(kept) <= names
        assert all(storage.verify("acme", name) for name in names)
