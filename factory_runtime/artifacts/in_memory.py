"""Artifact bodies in a dictionary, for tests and dry runs."""

from __future__ import annotations

import hashlib
import io
from datetime import datetime
from typing import BinaryIO

from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    InputError,
)
from factory_runtime.domain.ids import is_slug
from factory_runtime.ports import StoredBody


class InMemoryArtifactStorage:
    """Implements ``ArtifactStorage``; ``bodies`` maps (tenant, digest) to the bytes."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, str], bytes] = {}

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        content = body if isinstance(body, bytes) else body.read()
        digest = hashlib.sha256(content).hexdigest()
        self.bodies[_key(tenant_id, digest)] = content
        return StoredBody(digest, len(content))

    def open(self, tenant_id: str, digest: str) -> BinaryIO:
        try:
            return io.BytesIO(self.bodies[_key(tenant_id, digest)])
        except KeyError as exc:
            raise ArtifactNotFoundError(
                f"no body {digest[:64]!r} in artifact storage",
                hint="`factory artifacts list` shows them",
            ) from exc

    def read(self, tenant_id: str, digest: str) -> bytes:
        content = self.open(tenant_id, digest).read()
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptArtifactError(f"the body {digest} is damaged")
        return content

    def verify(self, tenant_id: str, digest: str) -> bool:
        content = self.bodies.get(_key(tenant_id, digest))
        return content is not None and hashlib.sha256(content).hexdigest() == digest

    def exists(self, tenant_id: str, digest: str) -> bool:
        return _key(tenant_id, digest) in self.bodies

    def delete(self, tenant_id: str, digest: str) -> None:
        self.bodies.pop(_key(tenant_id, digest), None)

    def link(
        self, tenant_id: str, digest: str, *, until: datetime, disposition: str, media_type: str
    ) -> str | None:
        del until, disposition, media_type
        self.open(tenant_id, digest).close()
        return None


def _key(tenant_id: str, digest: str) -> tuple[str, str]:
    if not is_slug(tenant_id):
        raise InputError(f"{tenant_id[:80]!r} cannot be a tenant", hint="use a slug")
    return tenant_id, digest
