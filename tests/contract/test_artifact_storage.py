"""What every artifact storage does."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from factory_runtime.artifacts.in_memory import InMemoryArtifactStorage
from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    InputError,
    PermanentError,
    StorageFullError,
)
from factory_runtime.ports import ArtifactStorage, StoredBody
from tests.blobs import Zeros, a_blob_storage

BODY = b"the same bytes have the same name"
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(params=["memory", "local", pytest.param("blob", marks=pytest.mark.service)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStorage:
    if request.param == "memory":
        return InMemoryArtifactStorage()
    if request.param == "local":
        return LocalArtifactStorage(tmp_path / "artifacts")
    return a_blob_storage(request.getfixturevalue("azurite"))


@pytest.fixture
def local(tmp_path: Path) -> LocalArtifactStorage:
    return LocalArtifactStorage(tmp_path / "artifacts")


def body_path(folder: Path, digest: str = DIGEST, tenant: str = "acme") -> Path:
    return folder / "artifacts" / tenant / "sha256" / digest[:2] / digest


@pytest.mark.parametrize("body", [BODY, b"", b"\0\r\n" * 700_000])
def test_a_body_is_named_by_its_digest_and_comes_back(
    storage: ArtifactStorage, body: bytes
) -> None:
    stored = storage.put("acme", body)
    assert (stored.digest, stored.size) == (hashlib.sha256(body).hexdigest(), len(body))
    assert stored.uri == f"artifact:sha256:{stored.digest}"
    assert storage.read("acme", stored.digest) == body
    with storage.open("acme", stored.digest) as stream:
        assert stream.read() == body
    assert storage.verify("acme", stored.digest)
    assert storage.exists("acme", stored.digest)


def test_a_stream_is_stored_like_its_bytes(storage: ArtifactStorage) -> None:
    assert storage.put("acme", io.BytesIO(BODY)) == storage.put("acme", BODY)


def test_a_stream_can_be_read_from_anywhere(storage: ArtifactStorage) -> None:
    storage.put("acme", BODY)
    with storage.open("acme", DIGEST) as stream:
        assert stream.seek(-5, io.SEEK_END) == len(BODY) - 5
        assert stream.read() == BODY[-5:]
        assert stream.read(1) == b""
        stream.seek(4)
        assert stream.read(4) == BODY[4:8]
        assert stream.tell() == 8
        stream.seek(0)
        assert b"".join(iter(lambda: stream.read(7), b"")) == BODY


def test_nobody_is_given_a_link_to_a_body_that_is_not_theirs(storage: ArtifactStorage) -> None:
    storage.put("acme", BODY)
    how = {"disposition": "attachment", "media_type": "text/plain"}
    until = datetime.now(UTC) + timedelta(minutes=5)
    for tenant, digest in (("globex", DIGEST), ("acme", DIGEST[::-1]), ("acme", "../" + DIGEST)):
        with pytest.raises(ArtifactNotFoundError):
            storage.link(tenant, digest, until=until, **how)
    with pytest.raises(InputError):
        storage.link("../acme", DIGEST, until=until, **how)


def test_a_tenant_does_not_see_the_body_of_another(storage: ArtifactStorage) -> None:
    storage.put("acme", BODY)
    assert not storage.exists("globex", DIGEST)
    assert not storage.verify("globex", DIGEST)
    with pytest.raises(ArtifactNotFoundError):
        storage.read("globex", DIGEST)
    storage.delete("globex", DIGEST)
    assert storage.exists("acme", DIGEST)


def test_a_deleted_body_is_gone_and_can_be_put_again(storage: ArtifactStorage) -> None:
    storage.put("acme", BODY)
    storage.delete("acme", DIGEST)
    storage.delete("acme", DIGEST)
    with pytest.raises(ArtifactNotFoundError):
        storage.open("acme", DIGEST)
    storage.put("acme", BODY)
    assert storage.read("acme", DIGEST) == BODY


@pytest.mark.parametrize("tenant", ["", ".", "..", "../acme", "a/b", "Acme", "acme\n", "/etc", "ü"])
def test_a_tenant_that_is_no_slug_is_refused(storage: ArtifactStorage, tenant: str) -> None:
    with pytest.raises(InputError):
        storage.put(tenant, BODY)
    with pytest.raises(InputError):
        storage.exists(tenant, DIGEST)
    with pytest.raises(InputError):
        storage.open(tenant, DIGEST)
    with pytest.raises(InputError):
        storage.delete(tenant, DIGEST)


@pytest.mark.parametrize(
    "digest", ["", "..", DIGEST.upper(), DIGEST[:-1], DIGEST + "\n", "../" * 20 + "etc/passwd"]
)
def test_what_is_no_digest_names_no_body(storage: ArtifactStorage, digest: str) -> None:
    storage.put("acme", BODY)
    with pytest.raises(ArtifactNotFoundError):
        storage.open("acme", digest)
    assert not storage.exists("acme", digest)
    assert not storage.verify("acme", digest)
    storage.delete("acme", digest)
    assert storage.exists("acme", DIGEST)


def test_concurrent_puts_of_one_body_all_succeed(storage: ArtifactStorage) -> None:
    body = os.urandom(300_000)

    def put(_: int) -> StoredBody:
        return storage.put("acme", io.BytesIO(body))

    with ThreadPoolExecutor(8) as pool:
        stored = set(pool.map(put, range(32)))
    assert len(stored) == 1
    assert storage.read("acme", stored.pop().digest) == body


def test_damage_is_noticed_and_mended_by_the_next_put(
    local: LocalArtifactStorage, tmp_path: Path
) -> None:
    local.put("acme", BODY)
    place = body_path(tmp_path)
    place.chmod(0o644)
    place.write_bytes(BODY[:-1] + b"!")
    assert not local.verify("acme", DIGEST)
    with pytest.raises(CorruptArtifactError, match=DIGEST):
        local.read("acme", DIGEST)
    local.put("acme", BODY)
    assert local.read("acme", DIGEST) == BODY


def test_a_body_is_read_only_and_leaves_nothing_beside_it(
    local: LocalArtifactStorage, tmp_path: Path
) -> None:
    local.put("acme", BODY)
    assert stat.S_IMODE(body_path(tmp_path).stat().st_mode) == 0o444
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert files == [body_path(tmp_path)]


def test_a_link_in_the_place_of_a_body_is_not_followed(
    local: LocalArtifactStorage, tmp_path: Path
) -> None:
    local.put("acme", BODY)
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    body_path(tmp_path).unlink()
    body_path(tmp_path).symlink_to(secret)
    with pytest.raises(PermanentError):
        local.open("acme", DIGEST)


class FailingStream(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            raise RuntimeError("the source broke")
        return super().read(5)


def test_a_broken_source_leaves_no_body(local: LocalArtifactStorage, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the source broke"):
        local.put("acme", FailingStream(BODY))
    assert not [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]


class KillingStream(io.BytesIO):
    """Ends its own process, as `kill -9` would, after the first bytes were written."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            os.kill(os.getpid(), 9)
        return super().read(5)


def in_child(work: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a function of this module in a process of its own."""
    code = f"import sys, {__name__} as t; t.{work}(*sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def put_and_die(folder: str) -> None:
    LocalArtifactStorage(Path(folder)).put("acme", KillingStream(BODY))


def test_a_killed_writer_leaves_no_body_and_its_leftover_is_swept_when_old(
    local: LocalArtifactStorage, tmp_path: Path
) -> None:
    assert in_child("put_and_die", str(tmp_path / "artifacts")).returncode == -9
    assert not local.exists("acme", DIGEST)
    (leftover,) = (path for path in (tmp_path / "artifacts").rglob("*") if path.is_file())

    local.put("acme", BODY)
    assert leftover.exists(), "it may belong to a writer that is still at work"
    two_days_ago = leftover.stat().st_mtime - 2 * 24 * 3600
    os.utime(leftover, (two_days_ago, two_days_ago))
    LocalArtifactStorage(tmp_path / "artifacts").put("acme", BODY)
    assert not leftover.exists()
    assert local.read("acme", DIGEST) == BODY


def put_beyond_the_limit(folder: str) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
    _report(folder, b"x" * 1024 * 1024)


def put_on_a_small_disk(folder: str, options: str) -> None:
    """A real file system of 256 KiB; where none may be mounted, a limit on the file's size."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        put_beyond_the_limit(folder)
        return
    try:
        _report(folder, b"x" * 1024 * 1024)
    finally:
        subprocess.run(["umount", folder], check=True)


def _report(folder: str, body: bytes) -> None:
    try:
        LocalArtifactStorage(Path(folder)).put("acme", body)
    except StorageFullError as exc:
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        sys.stdout.write(f"{exc} | {exc.hint} | {files}")


def test_a_file_too_large_for_the_disk_is_a_full_storage(tmp_path: Path) -> None:
    done = in_child("put_beyond_the_limit", str(tmp_path))
    assert done.stdout.startswith(f"no room left in {tmp_path}"), done.stderr
    assert done.stdout.endswith("| []")


@pytest.mark.parametrize("options", ["size=256k", "ro"])
def test_a_full_or_read_only_disk_is_named(tmp_path: Path, options: str) -> None:
    done = in_child("put_on_a_small_disk", str(tmp_path), options)
    assert str(tmp_path) in done.stdout, done.stderr
    assert done.stdout.endswith("| []")


def put_a_large_stream(folder: str) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    storage = LocalArtifactStorage(Path(folder))
    stream: BinaryIO = io.BufferedReader(Zeros(256 * 1024 * 1024))
    stored = storage.put("acme", stream)
    assert stored.size == 256 * 1024 * 1024
    assert storage.verify("acme", stored.digest)
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


def test_a_large_body_needs_little_memory(tmp_path: Path) -> None:
    done = in_child("put_a_large_stream", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 32 * 1024, "KiB of memory beyond what importing took"
