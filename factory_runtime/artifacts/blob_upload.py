"""One body on its way into blob storage, in a single request or in blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory_runtime.artifacts.blob_body import BLOCK, Body
from factory_runtime.artifacts.blob_errors import code_of

if TYPE_CHECKING:
    from azure.storage.blob import BlobBlock, BlobClient

AT_ONCE = 3
"""Blocks that are sent at the same time: so many are in memory."""

_RACED = frozenset({"BlobAlreadyExists", "ConditionNotMet", "InvalidBlockList"})
"""What Azure says where another writer of the same body was quicker."""

Tags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Upload:
    """A body, and the blob that it is to be.

    What arrives is what was sent: TLS sees to that, and nobody pays for an MD5 beside it.

    Attributes:
        blob: named by the digest of the body.
        tags: of the blob, for who looks for blobs by them.
    """

    blob: BlobClient
    body: Body
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
        try:
            self._write(only_if_missing=True)
        except HttpResponseError as exc:
            if code_of(exc) not in _RACED:
                raise
            if not self._is_there():
                self._write(only_if_missing=False)

    @property
    def _is_large(self) -> bool:
        return self.body.stored.size > BLOCK

    def _is_there(self) -> bool:
        """By what we have left at it: who has put other bytes into its place has not left it."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            found = self.blob.get_blob_properties()
        except ResourceNotFoundError:
            return False
        return found.size == self.body.stored.size and found.metadata == self._metadata

    @property
    def _metadata(self) -> dict[str, str]:
        return {"sha256": self.body.stored.digest}

    def _write(self, *, only_if_missing: bool) -> None:
        from azure.core import MatchConditions

        labels: dict[str, Any] = {"metadata": self._metadata, "tags": dict(self.tags)}
        if not self._is_large:
            content = b"".join(content for _, content in self.body.read())
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

        left = self._left_blocks()
        blocks: list[BlobBlock] = []
        under_way: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for name, content in self.body.read():
                blocks.append(BlobBlock(name))
                if name in left:
                    continue
                if len(under_way) == AT_ONCE:
                    under_way.popleft().result()
                under_way.append(pool.submit(self.blob.stage_block, name, content))
            for send in under_way:
                send.result()
        return blocks

    def _left_blocks(self) -> set[str]:
        """The blocks that are there and not committed."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            _, left = self.blob.get_block_list("uncommitted")
        except ResourceNotFoundError:
            return set()
        return {str(block.id) for block in left}
