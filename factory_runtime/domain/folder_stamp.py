"""Whether a folder is still as it was: by what the file system notes of each file in it.

It is much quicker than to read the files, and as good once they have been left alone for a moment:
a file system may give two changes of the same instant one time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

T = TypeVar("T")

_SETTLED_NANOSECONDS = 2_000_000_000
_MOST = 256
"""Values that are kept at once."""

Stamp = tuple[tuple[str, int, int, int, int, int], ...]


def stamp_of(folders: Iterable[Path], at: int | None = None) -> Stamp | None:
    """A value that is another as soon as these folders are, or anything below them.

    None where something changed so lately, or cannot be looked at: then nobody can tell.

    Args:
        folders: all that matters.
        at: nothing may have changed shortly before this, in nanoseconds, or since; now, if not given.
    """
    at = time.time_ns() if at is None else at
    places = tuple(folders)
    pending = [str(place) for place in places]
    try:
        found = [_noted(str(place), place.stat()) for place in places]
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    found.append(_noted(entry.path, entry.stat(follow_symlinks=False)))
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    except OSError:
        return None
    newest = max((changed_at for *_, changed_at in found), default=0)
    return None if at - newest < _SETTLED_NANOSECONDS else tuple(found)


def _noted(place: str, seen: os.stat_result) -> tuple[str, int, int, int, int, int]:
    times = (seen.st_mtime_ns, seen.st_ctime_ns)
    return (place, seen.st_mode, seen.st_size, seen.st_ino, *times)


@dataclass(slots=True)
class _Kept(Generic[T]):
    value: T
    folders: tuple[Path, ...]
    stamp: Stamp
    seen_at: float


class Unchanged(Generic[T]):
    """Values made of folders, kept as long as those stay as they were. Safe to use from threads.

    Attributes:
        trusted_seconds: of the whole process. Folders that were seen to be as they were are not looked
            at again for so long: who serves many has more to do than to look at hundreds of files
            for each. 0 looks every time.
    """

    trusted_seconds: ClassVar[float] = 0.0

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Kept[T]] = {}

    def get(
        self, key: Hashable, make: Callable[[], T], folders_of: Callable[[T], Iterable[Path]]
    ) -> T:
        """The value that was made under this key, or a new one where a folder of it has changed."""
        kept = self._kept.get(key)
        if kept is not None and self._is_as_it_was(kept):
            return kept.value
        began = time.time_ns()
        value = make()
        folders = tuple(folders_of(value))
        # Taken afterwards: what changed meanwhile, however long that was, leaves no stamp.
        stamp = stamp_of(folders, began)
        if stamp is not None:
            if len(self._kept) >= _MOST:
                self._kept.clear()
            self._kept[key] = _Kept(value, folders, stamp, time.monotonic())
        return value

    def forget(self, key: Hashable) -> None:
        """Make it anew when it is asked for next."""
        self._kept.pop(key, None)

    def _is_as_it_was(self, kept: _Kept[T]) -> bool:
        now = time.monotonic()
        if now - kept.seen_at < self.trusted_seconds:
            return True
        is_so = stamp_of(kept.folders) == kept.stamp
        kept.seen_at = now if is_so else kept.seen_at
        return is_so
