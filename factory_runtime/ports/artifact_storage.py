"""Artifact storage: bodies by digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A body in storage; ``digest`` (SHA-256, 64 hex digits) is its name."""

    digest: str
    size: int

    @property
    def uri(self) -> str:
        return f"artifact:sha256:{self.digest}"


class ArtifactStorage(Protocol):
    """Content-addressed bodies, a wall between tenants, create-only.

    Raises, from every method: StorageFullError where the disk is full or read-only.
    """

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        """Store the bytes; storing them twice is storing them once. Durable when it returns."""
        ...

    def open(self, tenant_id: str, digest: str) -> BinaryIO:
        """The bytes, as a stream that the caller closes. It is not yet verified.

        Raises:
            ArtifactNotFoundError: no such body for this tenant.
        """
        ...

    def read(self, tenant_id: str, digest: str) -> bytes:
        """The bytes, verified.

        Raises:
            ArtifactNotFoundError: no such body for this tenant.
            CorruptArtifactError: they do not match their digest.
        """
        ...

    def verify(self, tenant_id: str, digest: str) -> bool:
        """Whether the body is there and matches its digest, read as a stream."""
        ...

    def exists(self, tenant_id: str, digest: str) -> bool: ...

    def delete(self, tenant_id: str, digest: str) -> None: ...
