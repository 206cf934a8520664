"""Takes a bare repository away, if it still is as we have left it.

Our own writers wait for the repository's lock; a person's push does not. So the repository is
first renamed, where no new push finds it, and then closed: its refs give way to a file, so that a
push that is under way fails. Only what is the same after that as it was when it was looked at is
removed; else it goes back to its place. Whoever is killed on the way leaves a folder that the next
call goes on with.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from factory_runtime.domain.errors import (
    HostBusyError,
    NotFoundError,
    RepositoryChangedError,
)
from factory_runtime.domain.ids import digest_of
from factory_runtime.hosts.bare_repository import UNFINISHED, read_marks
from factory_runtime.hosts.git import git
from factory_runtime.hosts.history import BRANCH_REF, author_of, head_of, read_log
from factory_runtime.hosts.orders import FACTORY_ADDRESS, RUN_TRAILER, changed
from factory_runtime.hosts.repository_lock import LOCK_FOLDER, repository_lock
from factory_runtime.hosts.written import fsync_folder

_TRIES = 10
_REMOVED = ".removed-"


class Removal:
    """The removal of one repository.

    Args:
        place: where it is.
        effect_key: of the job that made it.
        runs: whose commits may be in it.
    """

    def __init__(self, place: Path, effect_key: str, runs: frozenset[str]) -> None:
        self._place, self._effect_key, self._runs = place, effect_key, runs
        name = digest_of([effect_key, place.name])[:32]
        self._aside = place.parent / f"{_REMOVED}{place.stem}~{name}"
        self._rest = place.parent / f"{UNFINISHED}{name}"

    def run(self) -> bool:
        """Remove it; False where it is gone already.

        Raises:
            RepositoryChangedError: it is not as those runs have left it.
        """
        self._delete_rest()
        was_aside = self._finish()
        if not read_marks(self._place):
            return was_aside
        with contextlib.suppress(NotFoundError), repository_lock(self._place):
            self._refuse_changed(self._place)
            self._place.rename(self._aside)
            fsync_folder(self._place.parent)
        if self._finish():
            return True
        refuse_unlocked(self._place)
        return was_aside

    def _finish(self) -> bool:
        """Go on with what was put aside; False where there is nothing."""
        if not self._aside.exists():
            return False
        # Gone under our hands: another one has finished it.
        with contextlib.suppress(NotFoundError), repository_lock(self._aside):
            self._close()
            self._aside.rename(self._rest)
            fsync_folder(self._rest.parent)
        self._delete_rest()
        return True

    def _close(self) -> None:
        for _ in range(_TRIES):
            _open_refs(self._aside)
            before = _refs_of(self._aside, "refs")
            try:
                self._refuse_changed(self._aside)
            except RepositoryChangedError as error:
                if (kept := self._put_back()) == self._place:
                    raise
                raise self._changed(f"was kept as {kept.name}: {error}") from error
            if _close_refs(self._aside) and _refs_of(self._aside, _CLOSED) == before:
                return
        _open_refs(self._aside)
        self._put_back()
        raise HostBusyError(f"others keep pushing to {self._place.name}", hint="try again later")

    def _put_back(self) -> Path:
        """Where it is again: beside its place, and in sight, where another has been made there."""
        place, number = self._place, 0
        while os.path.lexists(place):
            number += 1
            place = self._place.with_name(f"{self._place.stem}-kept-{number}.git")
        self._aside.rename(place)
        fsync_folder(place.parent)
        return place

    def _refuse_changed(self, place: Path) -> None:
        made_by = read_marks(place).get("effectkey")
        if made_by != self._effect_key:
            raise self._changed(f"was made by {made_by}")
        printed = git(place, "for-each-ref", "--format=%(refname)").decode(errors="replace")
        for ref in printed.split("\n"):
            if ref not in ("", BRANCH_REF):
                kind, _, name = ref.removeprefix("refs/").partition("/")
                what = {"heads": "the branch", "tags": "the tag"}.get(kind, kind)
                raise self._changed(f"has {what} {name}")
        for logged in read_log(place, head_of(place)):
            run = dict(logged.trailers).get(RUN_TRAILER)
            if run not in self._runs or logged.committer != FACTORY_ADDRESS:
                by = run if run and run not in self._runs else author_of(place, logged.sha)
                raise self._changed(f"has commit {logged.sha[:12]} of {by}")

    def _changed(self, how: str) -> RepositoryChangedError:
        return changed(self._place.parent.name, self._place.stem, how)

    def _delete_rest(self) -> None:
        shutil.rmtree(self._rest, ignore_errors=True)


def find_aside(place: Path) -> Path | None:
    """Where a removal that was cut off has put the repository; None where there was none."""
    return next(iter(sorted(place.parent.glob(f"{_REMOVED}{place.stem}~*"))), None)


def refuse_unlocked(place: Path) -> None:
    """After a lock that there was not: refuse what is there all the same.

    Raises:
        RepositoryChangedError: somebody has taken the folder away that its lock is in.
        HostBusyError: another repository has come in its place just now.
    """
    if not read_marks(place):
        return
    if not (place / LOCK_FOLDER).is_dir():
        raise changed(place.parent.name, place.stem, f"has lost its folder {LOCK_FOLDER}")
    raise HostBusyError(f"{place.name} was made anew just now", hint="try again later")


_CLOSED = "refs.closed"


def _close_refs(place: Path) -> bool:
    """Have every push fail that is under way; False where one came in between."""
    (place / "refs").rename(place / _CLOSED)
    try:
        (place / "refs").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _open_refs(place: Path) -> None:
    """Take back what ``_close_refs`` did, if it did, without losing what came in between."""
    refs, closed = place / "refs", place / _CLOSED
    if not closed.exists():
        return
    if refs.is_dir():
        shutil.copytree(refs, closed, dirs_exist_ok=True)
        shutil.rmtree(refs)
    else:
        refs.unlink(missing_ok=True)
    closed.rename(refs)


def _refs_of(place: Path, folder: str) -> dict[str, bytes]:
    """What all refs say. A lock file is of a push that is under way: it cannot end any more."""
    found = {
        file.relative_to(place / folder).as_posix(): file.read_bytes()
        for file in (place / folder).rglob("*")
        if file.is_file() and file.suffix != ".lock"
    }
    packed = place / "packed-refs"
    return {**found, "": packed.read_bytes() if packed.exists() else b""}
