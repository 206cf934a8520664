"""Takes one commit of ours back: its files become what they were before it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from factory_runtime.domain.errors import RepositoryChangedError
from factory_runtime.hosts.git import git
from factory_runtime.hosts.history import (
    Logged,
    author_of,
    changes_of,
    entries_at,
    has_object,
    paths_of,
)
from factory_runtime.hosts.orders import FACTORY_ADDRESS, RUN_TRAILER, changed

_EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
"""git's id of nothing: many files hold it."""


def changes_to_revert(
    place: Path, head: str, logged: Iterable[Logged], sha: str
) -> dict[str, str | None] | None:
    """Path → ``<mode> <blob>`` that it had before the commit, None where it was not there.

    None where the commit is not among ``logged``, the branch's.

    Raises:
        RepositoryChangedError: one of its files is another by now, or it is none of ours.
    """
    commit = next((one for one in logged if one.sha == sha), None)
    if commit is None:
        return None
    if commit.committer != FACTORY_ADDRESS or RUN_TRAILER not in dict(commit.trailers):
        raise _changed(place, f"has commit {sha[:12]} of {author_of(place, sha)}")
    changes = changes_of(place, sha)
    current = entries_at(place, head, changes)
    wanted: dict[str, str | None] = {}
    for path, (before, after) in changes.items():
        there = current.get(path)
        if there not in (before, after):
            raise _changed(place, f"has another {path}, {_by_whom(place, sha, head, path)}")
        if there != before:
            wanted[path] = before
        elif before is None and after is not None:
            _refuse_moved(place, sha, head, path, after)
    return wanted


def refuse_rewritten(place: Path, head: str, sha: str) -> None:
    """A commit that is not on the branch any more is gone, unless what it wrote stands there.

    Raises:
        RepositoryChangedError: some file of it does.
    """
    if not has_object(place, sha):
        return
    for path, (_, after) in changes_of(place, sha).items():
        if after is not None and not after.endswith(_EMPTY):
            found = paths_of(place, head, after.partition(" ")[2])
            if found:
                how = f"has no commit {sha[:12]}: its history was rewritten, and {found[0]} stands"
                raise _changed(place, how if found[0] == path else f"{how} for {path}")


def _refuse_moved(place: Path, sha: str, head: str, path: str, after: str) -> None:
    """A file that a person took away is gone, unless what is in it stands under another name."""
    arguments = ("log", "-1", "--format=%H %ce", f"{sha}..{head}", "--", path)
    last = git(place, "--literal-pathspecs", *arguments).decode(errors="replace").strip()
    by, _, committer = last.partition(" ")
    if committer == FACTORY_ADDRESS or after.endswith(_EMPTY):
        return
    moved = paths_of(place, head, after.partition(" ")[2])
    if moved:
        where = f"{moved[0]}, {path} before commit {by[:12]} of {author_of(place, by)}"
        raise _changed(place, f"has {where}")


def _by_whom(place: Path, sha: str, head: str, path: str) -> str:
    arguments = ("log", "-1", "--format=%H", f"{sha}..{head}", "--", path)
    last = git(place, "--literal-pathspecs", *arguments).decode().strip()
    if not last:
        return "though no commit says so"
    return f"since commit {last[:7]} of {author_of(place, last)}"


def _changed(place: Path, how: str) -> RepositoryChangedError:
    return changed(place.parent.name, place.stem, how)
