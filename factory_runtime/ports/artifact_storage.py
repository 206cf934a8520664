"""Artifact storage: bodies by digest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
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

    Raises, from every method: StorageFullError where the disk is full or read-only, StorageAwayError
    where it does not answer; a stream does so too while it is read.
    """

    def put(self, tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        """Store the bytes; storing them twice is storing them once. Durable when it returns."""
        ...

    def open(self, tenant_id: str, digest: str) -> BinaryIO:
        """The bytes, as a stream that can be sought in and that the caller closes. Not yet verified.

        A body that is deleted meanwhile is read to its end, or raises ArtifactNotFoundError.

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

    def link(
        self, tenant_id: str, digest: str, *, until: datetime, disposition: str, media_type: str
    ) -> str | None:
        """An address that gives the bytes, and no others, to whoever has it; not verified.

        Args:
            tenant_id: whose they are.
            digest: their name.
            until: it is good.
            disposition: what it answers as ``Content-Disposition``.
            media_type: and as ``Content-Type``.

        Returns:
            The address; None where this storage gives none.

        Raises:
            ArtifactNotFoundError: no such body for this tenant.
        """
        ...
