"""One body on its way into blob storage, in a single request or in blocks."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from factory_runtime.artifacts.blob_errors import code_of
from factory_runtime.artifacts.blob_place import BLOCK
from factory_runtime.domain.errors import CorruptArtifactError
from factory_runtime.ports import StoredBody

if TYPE_CHECKING:
    from azure.storage.blob import BlobBlock, BlobClient

AT_ONCE = 4
"""Blocks that are sent at the same time: so many are in memory."""

_CHUNK = 1024 * 1024
_RACED = frozenset({"BlobAlreadyExists", "ConditionNotMet", "InvalidBlockList"})
"""What Azure says where another writer of the same body was quicker."""

Tags = Mapping[str, str]


@contextmanager
def spooled(body: BinaryIO | bytes) -> Generator[tuple[BinaryIO, StoredBody]]:
    """A body that can be read again, with its name: that is known once it was read.

    A stream that cannot be sought in lies on this machine's disk meanwhile, where it is larger than
    a block.
    """
    source = io.BytesIO(body) if isinstance(body, bytes) else body
    if source.seekable():
        start = source.tell()
        stored = _read_through(source, None)
        source.seek(start)
        yield source, stored
        return
    with tempfile.SpooledTemporaryFile(BLOCK) as file:
        stored = _read_through(source, file)
        file.seek(0)
        yield cast("BinaryIO", file), stored


def _read_through(source: BinaryIO, copy: IO[bytes] | None) -> StoredBody:
    sha256, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        sha256.update(chunk)
        size += len(chunk)
        if copy is not None:
            copy.write(chunk)
    return StoredBody(sha256.hexdigest(), size)


@dataclass(frozen=True, slots=True)
class Upload:
    """A body, and the blob that it is to be.

    What arrives is what was sent: TLS sees to that, and nobody pays for an MD5 beside it.

    Attributes:
        blob: named by the digest of the body.
        file: at the beginning of the body; it may be read several times.
        tags: of the blob, for who looks for blobs by them.
    """

    blob: BlobClient
    file: IO[bytes]
    stored: StoredBody
    tags: Tags

    def ensure(self) -> None:
        """Have it there. What is there stays, but for what is not what its name says.

        Raises:
            CorruptArtifactError: the body was changed while it was sent; it is not stored.
            AzureError: the library says so.
        """
        from azure.core.exceptions import HttpResponseError

        # A large one is asked for before it is sent.
        if self._is_large and self._is_there():
            return
        start = self.file.tell()
        try:
            self._write(only_if_missing=True)
        except HttpResponseError as exc:
            if code_of(exc) not in _RACED:
                raise
            if not self._is_there():
                self.file.seek(start)
                self._write(only_if_missing=False)

    @property
    def _is_large(self) -> bool:
        return self.stored.size > BLOCK

    def _is_there(self) -> bool:
        """By what we have left at it: who has put other bytes into its place has not left it."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            found = self.blob.get_blob_properties()
        except ResourceNotFoundError:
            return False
        return found.size == self.stored.size and found.metadata == self._metadata

    @property
    def _metadata(self) -> dict[str, str]:
        return {"sha256": self.stored.digest}

    def _write(self, *, only_if_missing: bool) -> None:
        from azure.core import MatchConditions

        labels: dict[str, Any] = {"metadata": self._metadata, "tags": dict(self.tags)}
        if not self._is_large:
            content = self.file.read(self.stored.size + 1)
            self._check(hashlib.sha256(content).hexdigest())
            self.blob.upload_blob(content, overwrite=not only_if_missing, **labels)
            return
        if only_if_missing:
            labels["match_condition"] = MatchConditions.IfMissing
        self.blob.commit_block_list(self._send_blocks(), **labels)

    def _send_blocks(self) -> list[BlobBlock]:
        """All of them in their order; those that an earlier try has left are not sent again.

        Nobody sees blocks before they are committed, and Azure removes those that never are after a
        week.
        """
        from azure.storage.blob import BlobBlock

        left, sha256 = self._left_blocks(), hashlib.sha256()
        blocks: list[BlobBlock] = []
        under_way: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, self.stored.size, BLOCK):
                content = self.file.read(min(BLOCK, self.stored.size - start))
                sha256.update(content)
                block = sha256.hexdigest()  # of all up to its end: no other content has it
                blocks.append(BlobBlock(block))
                if block in left:
                    continue
                if len(under_way) == AT_ONCE:
                    under_way.popleft().result()
                under_way.append(pool.submit(self.blob.stage_block, block, content))
            for send in under_way:
                send.result()
        self._check(sha256.hexdigest())
        return blocks

    def _check(self, digest: str) -> None:
        if digest != self.stored.digest:
            raise CorruptArtifactError(
                f"the body {self.stored.digest} was changed while it was sent"
            )

    def _left_blocks(self) -> set[str]:
        """The blocks that are there and not committed."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            _, left = self.blob.get_block_list("uncommitted")
        except ResourceNotFoundError:
            return set()
        return {str(block.id) for block in left}
