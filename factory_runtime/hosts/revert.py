"""Takes one commit of ours back: its files become what they were before it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from factory_runtime.domain.errors import RepositoryChangedError
from factory_runtime.hosts.git import git
from factory_runtime.hosts.history import Logged, author_of, changes_of, entries_at
from factory_runtime.hosts.orders import FACTORY_ADDRESS, RUN_TRAILER, changed


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
    return wanted


def _by_whom(place: Path, sha: str, head: str, path: str) -> str:
    arguments = ("log", "-1", "--format=%h of %an", f"{sha}..{head}", "--", path)
    printed = git(place, "--literal-pathspecs", *arguments).decode(errors="replace").strip()
    return f"since commit {printed}" if printed else "though no commit says so"


def _changed(place: Path, how: str) -> RepositoryChangedError:
    return changed(place.parent.name, place.stem, how)
