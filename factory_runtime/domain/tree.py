"""A Tree: files as one deterministic tar, so that the same files always have the same digest."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from factory_runtime.domain.errors import HostileTemplateError

if TYPE_CHECKING:
    from typing_extensions import Buffer

TREE_MEDIA_TYPE = "application/x-tar"

_HOSTILE_CHARACTERS = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a tree: ``path`` is relative with ``/``; ``link`` is set for a symbolic link."""

    path: str
    content: bytes
    executable: bool = False
    link: str | None = None


@dataclass(frozen=True, slots=True)
class TreeReference:
    """A tree that lies in artifact storage under the digest of its tar.

    Attributes:
        size: bytes of the tar.
        files: how many files it holds.
    """

    digest: str
    size: int
    files: int


class _Hashing(io.RawIOBase):
    """Passes writes on and keeps their digest."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Buffer, /) -> int:
        chunk = bytes(data)
        self._hash.update(chunk)
        self.size += len(chunk)
        return self._out.write(chunk)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def pack_folder(folder: Path, out: BinaryIO, *, ignore: Iterable[str] = (".git",)) -> TreeReference:
    """Write the folder as a deterministic tar: sorted, no owner, no time, two modes.

    Raises:
        HostileTemplateError: it holds something that is neither file, folder nor a link that
            stays inside.
    """
    hashing = _Hashing(out)
    count = 0
    with tarfile.open(fileobj=cast(BinaryIO, hashing), mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(_files_below(folder, frozenset(ignore))):
            entry = tarfile.TarInfo(path)
            place = folder / path
            mode = place.lstat().st_mode
            if stat.S_ISLNK(mode):
                entry.type, entry.linkname = tarfile.SYMTYPE, _safe_link(folder, path)
                tar.addfile(entry)
            else:
                with place.open("rb") as body:
                    entry.size = os.fstat(body.fileno()).st_size
                    entry.mode = 0o755 if mode & stat.S_IXUSR else 0o644
                    tar.addfile(entry, body)
            count += 1
    return TreeReference(hashing.hexdigest(), hashing.size, count)


def read_tree(body: BinaryIO) -> Iterator[TreeFile]:
    """The files of a packed tree, in order; each path and link is checked again.

    Raises:
        HostileTemplateError: the tar was not made by ``pack_folder``.
    """
    with tarfile.open(fileobj=body, mode="r|") as tar:
        for entry in tar:
            path = safe_path(entry.name)
            if entry.issym():
                yield TreeFile(path, b"", link=_safe_target(path, entry.linkname))
            elif entry.isfile():
                content = tar.extractfile(entry)
                yield TreeFile(
                    path, content.read() if content else b"", executable=bool(entry.mode & 0o100)
                )
            else:
                raise HostileTemplateError(f"{path} is neither a file nor a link")


def safe_path(path: str) -> str:
    """The path itself, if it stays inside a tree and outside ``.git``.

    Raises:
        HostileTemplateError: it is absolute, has ``..`` or a control character, or is git's own.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    bad = not parts or path.startswith("/") or ".." in parts
    # git itself treats these spellings as its own on some file systems.
    bad = bad or any(p.lower().rstrip(". ") in {".git", "git~1"} for p in parts)
    if bad or _HOSTILE_CHARACTERS.search(path):
        raise HostileTemplateError(f"the path {path!r} leaves the tree", hint="use a plain path")
    return path


def _files_below(folder: Path, ignore: frozenset[str]) -> Iterator[str]:
    # Texts, not paths of pathlib: those take longer than the looks at the files.
    top = str(folder)
    for root, folders, files in os.walk(top):
        here, below = Path(root), root.removeprefix(top).lstrip("/")
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [n for n in folders if n not in ignore and n not in links]
        for name in [*files, *links]:
            if name in ignore:
                continue
            mode = os.lstat(f"{root}/{name}").st_mode
            relative = f"{below}/{name}" if below else name
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                raise HostileTemplateError(f"{relative} is neither a file nor a link")
            yield safe_path(relative)


def _safe_link(folder: Path, path: str) -> str:
    return _safe_target(path, os.readlink(folder / path))  # noqa: PTH115 - keep the text as it is


def _safe_target(path: str, target: str) -> str:
    # Further in, `..` may follow a link and lead elsewhere than the text says.
    climbs = ".." in list(dropwhile(lambda part: part == "..", PurePosixPath(target).parts))
    joined = os.path.normpath(PurePosixPath(path).parent / target)
    if climbs or target.startswith("/") or joined == ".." or joined.startswith("../"):
        raise HostileTemplateError(
            f"the link {path} points outside, to {target}", hint="links must stay in the folder"
        )
    if joined != ".":
        safe_path(joined)
    return target
