"""Sources on their way in: from artifact storage to a private folder, checked again."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, cast

from factory_runtime.domain.errors import CorruptArtifactError, HostileTemplateError
from factory_runtime.domain.tree import read_tree
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.trees import check_tree
from factory_runtime.ports import ArtifactStorage

if TYPE_CHECKING:
    from factory_runtime.domain.tree import TreeFile

# A tar spends up to two blocks of 512 bytes on a small file, and some on long names.
_TAR_BYTES_PER_FILE = 4096
_CHUNK = 1024 * 1024


def unpack_source(
    storage: ArtifactStorage, tenant_id: str, digest: str, folder: Path, limits: RenderLimits
) -> None:
    """Write the packed source below ``folder``, which is made.

    Raises:
        ArtifactNotFoundError: storage does not have it for this tenant.
        CorruptArtifactError: it does not match its digest.
        HostileTemplateError: it would write outside of the folder.
        RenderLimitError: it is larger than a render may be.
    """
    folder.mkdir()
    with _opened(storage, tenant_id, digest, limits) as body:
        for count, file in enumerate(read_tree(body), 1):
            if count > limits.files:
                raise limits.exceeded("files", "the source")
            _write(file, folder)
    check_tree(folder)


def _write(file: TreeFile, folder: Path) -> None:
    place = folder / file.path
    # Looked at before anything is made: a folder behind a link may be anybody's.
    behind = any((folder / parent).is_symlink() for parent in PurePath(file.path).parents)
    if behind or place.is_symlink() or place.exists():
        raise HostileTemplateError(f"{file.path} lies behind a link, or is there twice")
    place.parent.mkdir(parents=True, exist_ok=True)
    if file.link is not None:
        place.symlink_to(file.link)
        return
    place.write_bytes(file.content)
    place.chmod(0o755 if file.executable else 0o644)


class _Measured(io.RawIOBase):
    """A stream that hashes what is read and stops when it is too much."""

    def __init__(self, body: BinaryIO, limits: RenderLimits) -> None:
        super().__init__()
        self._body = body
        self._limits = limits
        self._left = limits.size_bytes + limits.files * _TAR_BYTES_PER_FILE
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._body.read(size)
        self._hash.update(chunk)
        self._left -= len(chunk)
        if self._left < 0:
            raise self._limits.exceeded("size", "the source")
        return chunk

    def drain(self) -> str:
        """Read to the end; the digest of it all, in hex."""
        while self.read(_CHUNK):
            pass
        return self._hash.hexdigest()


@contextmanager
def _opened(
    storage: ArtifactStorage, tenant_id: str, digest: str, limits: RenderLimits
) -> Generator[BinaryIO]:
    with storage.open(tenant_id, digest) as body:
        measured = _Measured(body, limits)
        try:
            yield cast(BinaryIO, measured)
            whole = measured.drain() == digest
        except tarfile.TarError:
            whole = False
    if not whole:
        raise CorruptArtifactError(
            f"the source {digest[:12]} is damaged: it does not match its digest",
            hint="start the run again: its sources are packed anew",
        )
