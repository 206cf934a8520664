"""Artifact bodies in a folder, each under its own digest."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tempfile
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from factory_runtime.domain.disk import REACH, disk_errors
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    InputError,
    StorageAwayError,
)
from factory_runtime.domain.ids import is_slug
from factory_runtime.ports import StoredBody

_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ABANDONED_AFTER = timedelta(hours=24)


class LocalArtifactStorage:
    """Implements ``ArtifactStorage`` as ``<folder>/<tenant>/sha256/<ab>/<digest>``.

    A body is written beside its place, made durable and then renamed, so that a name is either
    absent or whole. Renaming over an equal body is harmless, and mends one that was damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._swept: set[str] = set()
        self._lock = threading.Lock()

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        source = io.BytesIO(body) if isinstance(body, bytes) else body
        root = self._tenant_folder(tenant_id)
        with disk_errors(self._folder):
            staging = _durable_folder(root / "staging", below=self._folder)
            handle, name = tempfile.mkstemp(dir=staging)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as out:
                    stored = _copy(source, out)
                    out.flush()
                    os.fchmod(out.fileno(), 0o444)
                    os.fsync(out.fileno())
                self._sweep_once(tenant_id, staging, temporary.stat().st_mtime)
                place = _place(root, stored.digest)
                _durable_folder(place.parent, below=self._folder)
                temporary.replace(place)
                _fsync_folder(place.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return stored

    def open(self, tenant_id: str, digest: str) -> BinaryIO:
        path = self._existing(tenant_id, digest)
        with disk_errors(self._folder):
            try:
                # A link in a body's place was put there by somebody else: not followed.
                return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
            except FileNotFoundError as exc:
                raise _not_found(digest) from exc

    def read(self, tenant_id: str, digest: str) -> bytes:
        with self.open(tenant_id, digest) as body, disk_errors(self._folder):
            content = body.read()
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptArtifactError(
                f"the body {digest} is damaged: its bytes have another digest",
                hint="make it again by running its job once more, or restore it from a backup",
            )
        return content

    def verify(self, tenant_id: str, digest: str) -> bool:
        try:
            with self.open(tenant_id, digest) as body, disk_errors(self._folder):
                return _copy(body, None).digest == digest
        except ArtifactNotFoundError:
            return False

    def exists(self, tenant_id: str, digest: str) -> bool:
        if _DIGEST.fullmatch(digest) is None or not is_slug(tenant_id):
            self._tenant_folder(tenant_id)  # or refuse it
            return False
        # Asked many times for each request: what is there needs no further look.
        with disk_errors(self._folder):
            if _place(self._folder / tenant_id, digest).is_file():
                return True
            return _place(self._tenant_folder(tenant_id), digest).is_file()

    def delete(self, tenant_id: str, digest: str) -> None:
        root = self._tenant_folder(tenant_id)
        if _DIGEST.fullmatch(digest) is None:
            return
        with disk_errors(self._folder):
            _place(root, digest).unlink(missing_ok=True)

    def link(
        self, tenant_id: str, digest: str, *, until: datetime, disposition: str, media_type: str
    ) -> str | None:
        del until, disposition, media_type
        self.open(tenant_id, digest).close()
        return None

    def _tenant_folder(self, tenant_id: str) -> Path:
        if os.path.lexists(self._folder) and not self._folder.is_dir():
            # Nothing that lies in it is gone, or may be made anew elsewhere.
            raise StorageAwayError(f"{self._folder} leads nowhere now", hint=REACH)
        if not is_slug(tenant_id):
            raise InputError(f"{tenant_id[:80]!r} cannot be a tenant", hint="use a slug")
        return self._folder / tenant_id

    def _existing(self, tenant_id: str, digest: str) -> Path:
        root = self._tenant_folder(tenant_id)
        if _DIGEST.fullmatch(digest) is None:
            raise _not_found(digest)
        return _place(root, digest)

    def _sweep_once(self, tenant_id: str, staging: Path, now: float) -> None:
        """Remove what killed writers left, by the file system's own time."""
        with self._lock:
            if tenant_id in self._swept:
                return
            self._swept.add(tenant_id)
        for path in staging.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if now - path.stat().st_mtime > _ABANDONED_AFTER.total_seconds():
                    path.unlink()


def _copy(source: BinaryIO, out: BinaryIO | None) -> StoredBody:
    """Pass the source on, or only look at it, a chunk at a time."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if out is not None:
            out.write(chunk)
    return StoredBody(digest.hexdigest(), size)


def _place(root: Path, digest: str) -> Path:
    return root / "sha256" / digest[:2] / digest


def _not_found(digest: str) -> ArtifactNotFoundError:
    return ArtifactNotFoundError(
        f"no body {digest[:64]!r} in artifact storage", hint="`factory artifacts list` shows them"
    )


def _durable_folder(folder: Path, *, below: Path) -> Path:
    """Make a folder whose name survives a power cut."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        for parent in folder.parents:
            _fsync_folder(parent)
            if parent == below.parent:
                break
    return folder


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
