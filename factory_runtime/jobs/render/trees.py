"""Trees on disk: measured while they grow, looked through before anybody trusts them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from factory_runtime.domain.errors import HostileTemplateError
from factory_runtime.domain.tree import safe_path
from factory_runtime.jobs.leaks import LARGEST, Leak, find_leaks
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.request import LimitName

_ODD_MODES = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


def find_excess(out: Path, limits: RenderLimits) -> LimitName | None:
    """The limit that the folder is over by now; it may be changing while we look."""
    size = count = 0
    for entry in _entries(out):
        count += 1
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        size += found.st_size if stat.S_ISREG(found.st_mode) else 0
        if count > limits.files:
            return "files"
        if size > limits.size_bytes:
            return "size"
    return None


def check_tree(folder: Path) -> None:
    """Refuse what should not be in anybody's repository; beside it, ``pack_folder`` checks paths.

    Raises:
        HostileTemplateError: a link that leaves, git's own files, a hard link, a special file, an
            odd mode, or a name that is not text.
    """
    root = os.path.realpath(folder) + os.sep
    for entry in _entries(folder):
        path = Path(entry.path).relative_to(folder).as_posix()
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise HostileTemplateError(f"the file name {path!r} is not UTF-8") from error
        safe_path(path)
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            # Through other links, a link may leave although its text does not.
            if not (os.path.realpath(entry.path) + os.sep).startswith(root):
                raise HostileTemplateError(
                    f"the link {path} points outside", hint="links must stay in the folder"
                )
        elif stat.S_ISREG(found.st_mode):
            if found.st_nlink > 1 or found.st_mode & _ODD_MODES:
                raise HostileTemplateError(f"{path} is not a plain file")
        elif not stat.S_ISDIR(found.st_mode):
            raise HostileTemplateError(f"{path} is neither a file nor a link")


def leaks_in(folder: Path) -> Iterator[Leak]:
    """Secrets in files that nobody should find in a repository, nor in what is kept of a render."""
    for entry in sorted(_entries(folder), key=lambda entry: entry.path):
        if entry.is_file(follow_symlinks=False):
            place = Path(entry.path)
            with place.open("rb") as file:
                content = file.read(LARGEST)
            yield from find_leaks(place.relative_to(folder).as_posix(), content)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below, links not followed; without recursion, however deep it is."""
    folders = [str(folder)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
