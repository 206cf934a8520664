"""A body that is read twice: for its name, and once more to be sent under it."""

from __future__ import annotations

import hashlib
import io
import secrets
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, BinaryIO

from cryptography.hazmat.primitives.poly1305 import Poly1305

from factory_runtime.domain.errors import CorruptArtifactError
from factory_runtime.ports import StoredBody

BLOCK = 8 * 1024 * 1024
"""Bytes that are sent in one request."""

_CHUNK = 1024 * 1024
"""Bytes that are read ahead of the digest, and sealed meanwhile."""

_Piece = tuple[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Block:
    """What the first reading has found of one.

    Attributes:
        name: made of the digest of all up to its end, and of its size: another block that ends
            there, of another release's size, has another name.
        seal: tells whether it is the same when it is read again. It costs a fifth of a digest, and
            nobody can make another content that has it who does not know the key of the body.
    """

    name: str
    seal: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a file from where it stood, and what they were when they were read first."""

    stored: StoredBody
    _file: IO[bytes]
    _start: int
    _blocks: tuple[Block, ...]
    _key: bytes = field(repr=False)

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Each block under its name, as often as it is asked for. A small body is one block.

        Raises:
            CorruptArtifactError: it is another by now. What came before is as it was.
        """
        self._file.seek(self._start)
        for block in self._blocks:
            content = b"".join(_pieces(self._file, BLOCK))
            if Poly1305.generate_tag(self._key, content) != block.seal:
                raise self._changed()
            yield block.name, content
        if self._file.read(1):
            raise self._changed()

    def _changed(self) -> CorruptArtifactError:
        return CorruptArtifactError(f"the body {self.stored.digest} was changed while it was sent")


@contextmanager
def read_body(source: BinaryIO | bytes) -> Generator[Body]:
    """Read it through, which gives it its name.

    A stream that cannot be sought in lies on this machine's disk meanwhile, where it is larger than
    a block.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    if file.seekable():
        yield _read_through(file, file, file.tell())
        return
    with tempfile.SpooledTemporaryFile(BLOCK) as copy:
        yield _read_through(file, copy, 0)


def _read_through(source: IO[bytes], kept: IO[bytes], start: int) -> Body:
    sha256, size, end, key = hashlib.sha256(), 0, 0, secrets.token_bytes(32)
    blocks: list[Block] = []
    for piece, seal in _ahead(_sealed(source, kept, key)):
        sha256.update(piece)
        size += len(piece)
        if seal is not None:
            blocks.append(Block(_name(sha256.hexdigest(), size - end), seal))
            end = size
    return Body(StoredBody(sha256.hexdigest(), size), kept, start, tuple(blocks), key)


def _name(digest: str, size: int) -> str:
    """All names of a blob's blocks are of one length, or the service refuses them."""
    return hashlib.sha256(f"{size}:{digest}".encode()).hexdigest()


def _sealed(source: IO[bytes], kept: IO[bytes], key: bytes) -> Iterator[_Piece]:
    """The pieces, and nothing but its seal at the end of each block."""
    while True:
        size, seal = 0, Poly1305(key)
        for piece in _pieces(source, _CHUNK):
            seal.update(piece)
            size += len(piece)
            if kept is not source:
                kept.write(piece)
            yield piece, None
        if size == 0:
            return
        yield b"", seal.finalize()


def _ahead(items: Iterator[_Piece]) -> Iterator[_Piece]:
    """The same: behind the first block, each is made in a thread while the one before is used."""
    for item in items:
        yield item
        if item[1] is not None:
            break
    item = next(items, None)
    if item is None:
        return  # as of most bodies: no thread was needed
    with ThreadPoolExecutor(1) as thread:
        while item is not None:
            coming = thread.submit(next, items, None)
            yield item
            item = coming.result()


def _pieces(file: IO[bytes], at_most: int) -> Iterator[bytes]:
    """Of the next block. There are more than it takes where the file gives less than it is asked."""
    missing = BLOCK
    while missing and (piece := file.read(min(missing, at_most))):
        yield piece
        missing -= len(piece)
