"""Artifact storage on an Azurite, each with containers of its own."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from factory_runtime.artifacts.blob import BlobArtifactStorage, container_of
from factory_runtime.artifacts.blob_place import BlobPlace
from tests.azurite import ACCOUNT, Azurite

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient


def connection(azurite: Azurite, endpoint: str | None = None) -> str:
    """A connection string; the endpoint may be that of something that stands before it."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={azurite.key};"
        f"BlobEndpoint={endpoint or azurite.endpoint};"
    )


def a_place(azurite: Azurite, endpoint: str | None = None) -> BlobPlace:
    """Containers that nobody else has."""
    return BlobPlace(f"t{token_hex(6)}", connection_string=connection(azurite, endpoint))


def a_blob_storage(azurite: Azurite) -> BlobArtifactStorage:
    place = a_place(azurite)
    return BlobArtifactStorage(lambda: place)


def blob_of(place: BlobPlace, digest: str, tenant: str = "acme") -> BlobClient:
    """A body as Azure sees it."""
    container = container_of(place.prefix, tenant)
    return place.client().get_blob_client(container, f"sha256/{digest[:2]}/{digest}")


class Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)  # pyright: ignore[reportArgumentType] - the buffer protocol
        count = min(len(view), self.left)
        view[:count] = bytes(count)
        self.left -= count
        return count


def put_zeros(prefix: str, connection_string: str, mebibytes: str) -> None:
    """Store so many, in a process of its own, and say how much memory that took in all: KiB."""
    size = int(mebibytes) * 1024 * 1024
    place = BlobPlace(prefix, connection_string=connection_string)
    storage = BlobArtifactStorage(lambda: place)
    stored = storage.put("acme", io.BufferedReader(Zeros(size)))
    assert stored.size == size
    assert storage.verify("acme", stored.digest)
    # Not as getrusage says: that begins with what the process which started this one had.
    (most,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(most)
