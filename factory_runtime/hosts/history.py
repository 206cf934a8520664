"""Reads what a bare repository's default branch says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from factory_runtime.hosts.git import git
from factory_runtime.hosts.orders import Trailers, author_name

BRANCH = "main"
BRANCH_REF = f"refs/heads/{BRANCH}"


@dataclass(frozen=True, slots=True)
class Logged:
    """A commit of the branch and the trailers it carries.

    Attributes:
        committer: the address of who put it there; an author may be anybody.
    """

    sha: str
    trailers: Trailers
    committer: str = ""

    def carries(self, trailers: Trailers) -> bool:
        """Whether it has all of these."""
        return set(trailers) <= set(self.trailers)


def head_of(place: Path) -> str | None:
    """The commit that the default branch is at, or None before the first."""
    return git(place, "for-each-ref", "--format=%(objectname)", BRANCH_REF).decode().strip() or None


def read_log(
    place: Path, head: str | None, carrying: tuple[str, str] | None = None
) -> list[Logged]:
    """The commits that lead to ``head``, newest first; only those with the trailer, if given."""
    if head is None:
        return []
    # Narrowed by text first: git's trailer parser then looks at few commits.
    narrowed = ["--fixed-strings", f"--grep={carrying[0]}: {carrying[1]}"] if carrying else []
    form = "--format=%H %ce%n%(trailers:only,unfold)%x00"
    printed = git(place, "log", form, *narrowed, head, "--").decode(errors="replace")
    found: list[Logged] = []
    for block in printed.split("\0"):
        first, *lines = block.strip("\n").split("\n")
        sha, _, committer = first.partition(" ")
        pairs = (line.partition(": ") for line in lines if line)
        logged = Logged(sha, tuple((key, value) for key, _, value in pairs), committer)
        if sha and (carrying is None or carrying in logged.trailers):
            found.append(logged)
    return found


def paths_at(place: Path, head: str | None) -> list[str]:
    """Every path of the branch's tree."""
    if head is None:
        return []
    printed = git(place, "ls-tree", "-r", "-z", "--name-only", head)
    return [os_path(path) for path in printed.split(b"\0") if path]


def entries_at(place: Path, head: str, paths: Collection[str]) -> dict[str, str]:
    """Path → ``<mode> <blob>`` of those of the paths that are files of the branch's tree."""
    printed = git(place, "ls-tree", "-r", "-z", head)
    found: dict[str, str] = {}
    for line in printed.split(b"\0"):
        facts, _, raw = line.partition(b"\t")
        if raw and (path := os_path(raw)) in paths:
            mode, _, blob = facts.decode().split(" ")
            found[path] = f"{mode} {blob}"
    return found


def paths_of(place: Path, head: str, blob: str) -> list[str]:
    """Where in the branch's tree this content stands."""
    printed = git(place, "ls-tree", "-r", "-z", head)
    lines = (line.partition(b"\t") for line in printed.split(b"\0"))
    return [os_path(raw) for facts, _, raw in lines if raw and facts.decode().endswith(blob)]


def has_object(place: Path, sha: str) -> bool:
    """Whether the repository holds this commit, on a branch or not."""
    return bool(git(place, "rev-list", "--no-walk", "--ignore-missing", sha, "--").strip())


def author_of(place: Path, sha: str) -> str:
    """Who wrote a commit, for people: one plain line, whatever they call themselves."""
    printed = git(place, "log", "-1", "--format=%an", sha, "--").decode(errors="replace")
    return author_name(printed) if printed.strip() else "somebody"


def changed_by(place: Path, sha: str) -> dict[str, str]:
    """Path → ``<mode> <blob>`` of what a commit changed; deleted paths are left out."""
    return {path: after for path, (_, after) in changes_of(place, sha).items() if after is not None}


Change = tuple[str | None, str | None]
"""``<mode> <blob>`` of a file before and after a commit; None where it is not there."""


def changes_of(place: Path, sha: str) -> dict[str, Change]:
    """What a commit changed, by path."""
    printed = git(
        place, "diff-tree", "--root", "-r", "-z", "--no-commit-id", "--no-renames", "--raw", sha
    )
    parts = printed.split(b"\0")
    changed: dict[str, Change] = {}
    for facts, path in zip(parts[::2], parts[1::2], strict=False):
        old_mode, mode, old_blob, blob, status = facts.decode().lstrip(":").split(" ")
        before = None if status == "A" else f"{old_mode} {old_blob}"
        after = None if status == "D" else f"{mode} {blob}"
        changed[os_path(path)] = (before, after)
    return changed


def os_path(path: bytes) -> str:
    """A path as text, in the way `TreeFile` spells one that is not UTF-8."""
    return path.decode("utf-8", errors="surrogateescape")
