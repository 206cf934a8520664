"""Git hosts: where repositories live."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from factory_runtime.domain.tree import TreeFile


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on a host.

    Attributes:
        id: the host's own id for it.
        url: what to ``git clone``.
        created: whether this call made it.
        effect_key: of the job that made it, where the host knows.
    """

    id: str
    name: str
    url: str
    default_branch: str
    created: bool = False
    effect_key: str | None = None


@dataclass(frozen=True, slots=True)
class CommitOrder:
    """One commit to be made once.

    Attributes:
        trailers: in order, like ``(("Factory-Run", "run-…"), ("Factory-Step", "…"))``. The first
            two name the commit: one with the same two is this one.
        follows: steps of this run that it waits for, directly or not: it may write over their
            files, but not over the files of any other step of the run.
    """

    project_id: str
    repository: str
    message: str
    trailers: tuple[tuple[str, str], ...]
    author: str
    at: datetime
    follows: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit on the default branch; ``created`` says whether this call made it."""

    sha: str
    url: str
    files: int
    created: bool


class GitHost(Protocol):
    """Where repositories live. ``project_id`` is the folder or project they live in."""

    name: str

    def find_repository(self, tenant_id: str, project_id: str, name: str) -> Repository | None: ...

    def ensure_repository(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str, description: str
    ) -> Repository:
        """Make it, or find the one that an earlier attempt or an earlier run of the project made.

        Raises:
            RepositoryTakenError: it exists and is not ours, or people have committed to it.
            InputError: the name cannot be a repository's.
        """
        ...

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        """Put the files onto the default branch in one commit, exactly once.

        Files that the branch has and the commit does not mention stay. The branch moves from one
        whole commit to the next; concurrent commits end up one behind the other.

        Raises:
            LayerConflictError: another step that it does not follow wrote one of the files.
        """
        ...

    def find_commit(
        self,
        tenant_id: str,
        project_id: str,
        repository: str,
        trailers: tuple[tuple[str, str], ...],
    ) -> Commit | None:
        """The commit with these trailers: the probe that tells whether an effect was done."""
        ...
