"""A body in blob storage as a stream that can be read from anywhere, a piece at a time."""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, cast

from factory_runtime.artifacts.blob_errors import blob_errors
from factory_runtime.artifacts.blob_place import PIECE

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

AHEAD = 3
"""Pieces that are asked for before they are read, where they are read one after the other."""

_BUFFER = 128 * 1024


def open_stream(blob: BlobClient) -> BinaryIO:
    """The blob as it is now: reading it fails once it is another, or gone.

    Raises: what the library does; what reads it raises the errors of ``blob_errors``.
    """
    found = blob.get_blob_properties()
    raw = _Pieces(blob, found.size, str(found.etag))
    return cast("BinaryIO", io.BufferedReader(raw, _BUFFER))


class _Pieces(io.RawIOBase):
    """A piece is one request, which the library repeats where the line is cut."""

    def __init__(self, blob: BlobClient, size: int, etag: str) -> None:
        self._blob = blob
        self._size = size
        self._etag = etag
        self._at = 0
        self._start, self._piece = -PIECE, b""
        self._pool = ThreadPoolExecutor(AHEAD)
        self._ahead: dict[int, Future[bytes]] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readall(self) -> bytes:
        """Python's own takes 8 KiB at a time."""
        return b"".join(iter(lambda: self.read(PIECE), b""))

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._at >= self._size:
            return 0
        start = self._at - self._at % PIECE
        with blob_errors(self._blob.container_name):
            piece = self._piece_at(start)
        part = memoryview(piece)[self._at - start :][: len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _piece_at(self, start: int) -> bytes:
        if start == self._start:
            return self._piece
        asked = self._ahead.pop(start, None)
        if start == self._start + PIECE:
            self._look_ahead(start)
        else:
            self._ahead.clear()
        self._piece = self._fetch(start) if asked is None else asked.result()
        self._start = start
        return self._piece

    def _look_ahead(self, start: int) -> None:
        for later in range(start + PIECE, min(self._size, start + PIECE * (AHEAD + 1)), PIECE):
            if later not in self._ahead:
                self._ahead[later] = self._pool.submit(self._fetch, later)

    def _fetch(self, start: int) -> bytes:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError

        count = min(PIECE, self._size - start)
        as_it_was = MatchConditions.IfNotModified
        try:
            found = self._blob.download_blob(
                start, count, etag=self._etag, match_condition=as_it_was
            )
            # All at once would be copied, twice.
            return b"".join(found.chunks())
        except ResourceModifiedError:
            self._blob.get_blob_properties()  # what is gone may be said to be modified, too
            raise
