"""Git hosts: where repositories live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from factory_runtime.domain.tree import TreeFile
from factory_runtime.ports.delivery import Delivery, PullRequest


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
    """A commit on the default branch; ``created`` says whether this call made it.

    Attributes:
        pull_request: that the commit waits in, where the default branch takes no pushes: it is on
            its run's branch then, one behind the other with those of the run's other steps.
    """

    sha: str
    url: str
    files: int
    created: bool
    pull_request: PullRequest | None = None


class GitHost(Protocol):
    """Where repositories live. ``project_id`` is the folder or project they live in."""

    name: str

    def delivery_of(self, tenant_id: str) -> Delivery | None:
        """What it offers this tenant beside repositories; None where that is nothing."""
        ...

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

    def find_adoptable(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        """The repository as ``ensure_repository`` would find it, where it is there; makes nothing.

        Raises:
            RepositoryTakenError: as ``ensure_repository``.
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

    def remove_repository(
        self,
        tenant_id: str,
        project_id: str,
        name: str,
        *,
        effect_key: str,
        runs: frozenset[str],
    ) -> bool:
        """Remove a repository, if it still is as those runs have left it.

        Nobody's push is lost: one that comes meanwhile is refused, or keeps the repository there.
        Killed on the way, the next call ends it.

        Args:
            tenant_id: whose.
            project_id: where it lives.
            name: of the repository.
            effect_key: of the job that made it.
            runs: whose commits may be in it.

        Returns:
            Whether there was one; False where it is gone already.

        Raises:
            RepositoryChangedError: it was made by another job, or has commits, branches or tags of
                somebody else; the message names one. It stays as it is.
        """
        ...

    def revert_commit(self, tenant_id: str, order: CommitOrder, sha: str) -> Commit | None:
        """Put the files of a commit back as they were before it, in one commit, exactly once.

        What came later, on other files, stays. A file that is as before already is let be.

        Args:
            tenant_id: whose.
            order: of the commit to be made, named by its trailers as in ``ensure_commit``.
            sha: the commit to be taken back.

        Returns:
            The commit that takes it back; None where the repository is gone, or never had the
            commit.

        Raises:
            RepositoryChangedError: a file is no longer as the commit left it, or has another name;
                the commit is none of ours, or off the default branch while its files stand there.
                Nothing is changed.
        """
        ...


@runtime_checkable
class ChoiceOfHosts(Protocol):
    """A host that asks each tenant's own, whichever that is at the moment."""

    def choice_of(self, tenant_id: str) -> str:
        """How the tenant's is named, like ``local`` or ``block:acme``.

        Raises:
            PolicyUnavailableError: nobody can tell now.
        """
        ...

    def at(self, choice: str) -> GitHost:
        """The one that is named so, whatever its tenant's is by now."""
        ...


@runtime_checkable
class RepositoryCopies(Protocol):
    """A host whose repositories can be had as folders."""

    def copies_of(self, tenant_id: str, project_id: str) -> Mapping[str, Path]:
        """A project's repositories as bare ones on this machine, by name, as they stand by now.

        They are for reading, and those that others have made are among them.
        """
        ...


@dataclass(frozen=True, slots=True)
class HostFindings:
    """What a look at a host tells.

    Attributes:
        name: what messages call it.
        who: we are there.
        lacks: what we would need there and have not, a sentence each.
    """

    name: str
    who: str
    lacks: tuple[str, ...] = ()


@runtime_checkable
class Inspectable(Protocol):
    """A host of which it can be seen, without a change to it, what we may do there."""

    def inspect(self, tenant_id: str, project_id: str) -> HostFindings | None:
        """None where there is nothing to see.

        Raises:
            HostBusyError: it does not answer.
            HostRejectedError: we are nobody there.
        """
        ...
