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

    A stream lies on this machine's disk meanwhile, where it is larger than a block.
    """
    if isinstance(body, bytes):
        yield io.BytesIO(body), StoredBody(hashlib.sha256(body).hexdigest(), len(body))
        return
    sha256, size = hashlib.sha256(), 0
    with tempfile.SpooledTemporaryFile(BLOCK) as file:
        while chunk := body.read(_CHUNK):
            sha256.update(chunk)
            size += len(chunk)
            file.write(chunk)
        yield cast("BinaryIO", file), StoredBody(sha256.hexdigest(), size)


@dataclass(frozen=True, slots=True)
class Upload:
    """A body, and the blob that it is to be.

    What arrives is what was sent: TLS sees to that, and nobody pays for an MD5 beside it.

    Attributes:
        blob: named by the digest of the body.
        tags: of the blob, for who looks for blobs by them.
    """

    blob: BlobClient
    file: IO[bytes]
    stored: StoredBody
    tags: Tags

    def ensure(self) -> None:
        """Have it there. What is there stays, but for what is not what its name says.

        Raises: what the library does.
        """
        from azure.core.exceptions import HttpResponseError

        # A large one is asked for before it is sent.
        if self._is_large and self._is_there():
            return
        try:
            self._write(only_if_missing=True)
        except HttpResponseError as exc:
            if code_of(exc) not in _RACED:
                raise
            if not self._is_there():
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
        self.file.seek(0)
        if not self._is_large:
            self.blob.upload_blob(self.file.read(), overwrite=not only_if_missing, **labels)
            return
        if only_if_missing:
            labels["match_condition"] = MatchConditions.IfMissing
        self.blob.commit_block_list(self._send_blocks(), **labels)

    def _send_blocks(self) -> list[BlobBlock]:
        """All of them in their order; those that an earlier try has left are not sent again.

        Nobody sees blocks before they are committed, and Azure removes those that never are after a
        week. The blob's name is the digest of the whole, so the place of a block says what is in it.
        """
        from azure.storage.blob import BlobBlock

        left = self._left_blocks()
        blocks: list[BlobBlock] = []
        under_way: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, self.stored.size, BLOCK):
                size = min(BLOCK, self.stored.size - start)
                block = f"{start:020}-{size:010}"
                blocks.append(BlobBlock(block))
                if left.get(block) == size:
                    continue
                if len(under_way) == AT_ONCE:
                    under_way.popleft().result()
                self.file.seek(start)
                content = self.file.read(size)
                under_way.append(pool.submit(self.blob.stage_block, block, content))
            for send in under_way:
                send.result()
        return blocks

    def _left_blocks(self) -> dict[str, int]:
        """Bytes of each block that is there and not committed."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            _, left = self.blob.get_block_list("uncommitted")
        except ResourceNotFoundError:
            return {}
        return {str(block.id): int(block.size or 0) for block in left}
