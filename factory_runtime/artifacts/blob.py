"""Artifact bodies in Azure's blob storage: a container a tenant, each body under its own digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from factory_runtime.artifacts.blob_body import read_body
from factory_runtime.artifacts.blob_errors import blob_errors, code_of
from factory_runtime.artifacts.blob_links import BlobLinks
from factory_runtime.artifacts.blob_place import BlobPlace
from factory_runtime.artifacts.blob_stream import open_stream
from factory_runtime.artifacts.blob_upload import Upload
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    InputError,
)
from factory_runtime.domain.ids import is_slug
from factory_runtime.ports import StoredBody

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobServiceClient

_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_READABLE = 20
"""Letters of a tenant that the name of its container shows."""
_UNIQUE = 20
"""Hex digits that tell tenants apart."""


def container_of(prefix: str, tenant_id: str) -> str:
    """The name of a tenant's container: no two tenants have the same, whatever they are called.

    Azure's names have no dots, no two hyphens beside each other, and at most 63 characters.
    """
    digest = hashlib.sha256(tenant_id.encode()).hexdigest()[:_UNIQUE]
    readable = re.sub(r"[^a-z0-9]+", "-", tenant_id)[:_READABLE].strip("-")
    return f"{prefix}-{readable}-{digest}"


class BlobArtifactStorage:
    """Implements ``ArtifactStorage`` as ``<container of the tenant>/sha256/<ab>/<digest>``.

    Args:
        find_place: says where, when it is first needed.
    """

    def __init__(self, find_place: Callable[[], BlobPlace]) -> None:
        self._find_place = find_place
        self._made: set[str] = set()

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        from azure.core.exceptions import ResourceNotFoundError

        container = self._container(tenant_id)
        with read_body(body) as read, blob_errors(container):
            blob = self._service.get_blob_client(container, _name(read.stored.digest))
            upload = Upload(blob, read, {"tenant": tenant_id})
            self._ensure_container(container)
            try:
                upload.ensure()
            except ResourceNotFoundError:  # somebody has removed the container since
                self._made.discard(container)
                self._ensure_container(container)
                upload.ensure()
        return read.stored

    def open(self, tenant_id: str, digest: str) -> BinaryIO:
        blob = self._blob(tenant_id, digest)
        if blob is None:
            raise _not_found(digest)
        try:
            with blob_errors(blob.container_name):
                return open_stream(blob)
        except ArtifactNotFoundError as exc:
            raise _not_found(digest) from exc

    def read(self, tenant_id: str, digest: str) -> bytes:
        with self.open(tenant_id, digest) as body:
            content = body.read()
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptArtifactError(
                f"the body {digest} is damaged: its bytes have another digest",
                hint="make it again by running its job once more, or restore it from a backup",
            )
        return content

    def verify(self, tenant_id: str, digest: str) -> bool:
        try:
            with self.open(tenant_id, digest) as body:
                return _digest_of(body) == digest
        except ArtifactNotFoundError:
            return False

    def exists(self, tenant_id: str, digest: str) -> bool:
        blob = self._blob(tenant_id, digest)
        if blob is None:
            return False
        with blob_errors(blob.container_name):
            return blob.exists()

    def delete(self, tenant_id: str, digest: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        blob = self._blob(tenant_id, digest)
        if blob is None:
            return
        with blob_errors(blob.container_name), suppress(ResourceNotFoundError):
            blob.delete_blob(delete_snapshots="include")

    def link(
        self, tenant_id: str, digest: str, *, until: datetime, disposition: str, media_type: str
    ) -> str | None:
        blob = self._blob(tenant_id, digest)
        if blob is None:
            raise _not_found(digest)
        with blob_errors(blob.container_name):
            if not blob.exists():
                raise _not_found(digest)
            return self._links.link(blob, until, disposition, media_type)

    @cached_property
    def _place(self) -> BlobPlace:
        return self._find_place()

    @cached_property
    def _service(self) -> BlobServiceClient:
        return self._place.client()

    @cached_property
    def _links(self) -> BlobLinks:
        return BlobLinks(self._service)

    def _container(self, tenant_id: str) -> str:
        if not is_slug(tenant_id):
            raise InputError(f"{tenant_id[:80]!r} cannot be a tenant", hint="use a slug")
        return container_of(self._place.prefix, tenant_id)

    def _blob(self, tenant_id: str, digest: str) -> BlobClient | None:
        container = self._container(tenant_id)
        if _DIGEST.fullmatch(digest) is None:
            return None
        return self._service.get_blob_client(container, _name(digest))

    def _ensure_container(self, container: str) -> None:
        from azure.core.exceptions import ResourceExistsError

        if container in self._made:
            return
        try:
            self._service.get_container_client(container).create_container()
        except ResourceExistsError as exc:
            if code_of(exc) != "ContainerAlreadyExists":  # like one that is being removed
                raise
        self._made.add(container)


def _digest_of(body: BinaryIO) -> str:
    sha256 = hashlib.sha256()
    while chunk := body.read(_CHUNK):
        sha256.update(chunk)
    return sha256.hexdigest()


def _name(digest: str) -> str:
    return f"sha256/{digest[:2]}/{digest}"


def _not_found(digest: str) -> ArtifactNotFoundError:
    return ArtifactNotFoundError(
        f"no body {digest[:64]!r} in artifact storage", hint="`factory artifacts list` shows them"
    )
