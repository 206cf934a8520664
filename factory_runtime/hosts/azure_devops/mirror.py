"""A bare copy of a repository of Azure DevOps, in which commits are made before they are pushed.

It is a cache: it may be lost at any time, and is fetched anew. Its own ``main`` is no branch of
the host's, but the place where the next commit is made; the host's are ``refs/remotes/origin``.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from factory_runtime.domain.disk import disk_errors
from factory_runtime.domain.errors import HostBusyError, NotFoundError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.remote import Remote
from factory_runtime.hosts.bare_repository import create_repository
from factory_runtime.hosts.git import GitFailedError, git
from factory_runtime.hosts.history import BRANCH_REF
from factory_runtime.hosts.repository_lock import LOCK_FOLDER, repository_lock, sweep_leftovers

RUN_BRANCHES = "factory/"
"""How the branches begin that wait in a pull request."""

_HEADS = "refs/heads/"
_TAGS = "refs/tags/"
_KEPT_HEADS = "refs/remotes/origin/"


class Mirror:
    """The copy, while nobody else of this machine writes to it.

    Attributes:
        place: its bare folder.
        lock: a descriptor that git holds while it lives.
    """

    def __init__(self, place: Path, lock: int, remote: Remote) -> None:
        self.place, self.lock = place, lock
        self._remote = remote
        self._kept: dict[str, str] | None = None

    def refs(self) -> dict[str, str]:
        """The host's branches and tags, by their whole names, as of the last fetch or push."""
        kept = ((name, sha) for name, sha in self._read().items() if name != BRANCH_REF)
        return {name.replace(_KEPT_HEADS, _HEADS, 1): sha for name, sha in kept}

    def branches(self) -> dict[str, str]:
        """The branches among them, by their names."""
        return _below(_HEADS, self.refs())

    def tags(self) -> dict[str, str]:
        """The tags among them, by their names."""
        return _below(_TAGS, self.refs())

    def bring_up(self, refs: Mapping[str, str]) -> None:
        """Have the copy know what the host has: its branches and tags are at these.

        It mostly does, since it knows of our own pushes, and to ask for them is much less than a
        fetch.
        """
        if self.refs() != refs:
            self.fetch()

    def bring_up_to_push(self) -> None:
        """As ``bring_up``, where a push is to follow, to which the host has to tell them anyway."""
        self.bring_up(self._remote.refs())

    def fetch(self) -> None:
        """As ``Remote.fetch``."""
        self._remote.fetch()
        self._kept = None

    def fetch_commit(self, sha: str) -> None:
        """As ``Remote.fetch_commit``."""
        self._remote.fetch_commit(sha)

    def push(self, sha: str, ref: str, expected: str | None, base: str | None = None) -> None:
        """As ``Remote.push``, and the copy knows of it."""
        self._remote.push(sha, ref, expected, base)
        git(self.place, "update-ref", ref.replace(_HEADS, _KEPT_HEADS, 1), sha)
        self._kept = None

    def stand_on(self, sha: str | None) -> None:
        """Have the next commit made on top of this one; None makes the first."""
        if self._read().get(BRANCH_REF) != sha:
            git(self.place, "update-ref", *((BRANCH_REF, sha) if sha else ("-d", BRANCH_REF)))
        self._kept = None  # the next commit moves it

    def _read(self) -> dict[str, str]:
        if self._kept is None:
            form = "--format=%(refname) %(objectname)"
            printed = git(self.place, "for-each-ref", form, _KEPT_HEADS, _TAGS, BRANCH_REF)
            lines = (line.rpartition(" ") for line in printed.decode(errors="replace").splitlines())
            self._kept = {name: sha for name, _, sha in lines}
        return self._kept


def _below(prefix: str, refs: Mapping[str, str]) -> dict[str, str]:
    found = ((name, sha) for name, sha in refs.items() if name.startswith(prefix))
    return {name.removeprefix(prefix): sha for name, sha in found}


@contextmanager
def open_mirror(place: Path, client: AzureDevOpsClient, url: str) -> Generator[Mirror]:
    """The copy at this place, made where it is missing; one that git cannot read is let go of.

    Raises:
        HostBusyError: another process holds it, or has let go of it, or it was damaged.
    """
    with disk_errors(place), ExitStack() as stack:
        is_there = place.exists()  # asked first: another may just be making it
        if not (place / "config").is_file() or not (place / LOCK_FOLDER).is_dir():
            if is_there:
                shutil.rmtree(place, ignore_errors=True)
            create_repository(place, {}, "A copy, which may be removed at any time")
        try:
            lock = stack.enter_context(repository_lock(place))
        except NotFoundError as exc:
            raise HostBusyError(f"the copy of {place.name} was removed just now") from exc
        sweep_leftovers(place)
        try:
            yield Mirror(place, lock, Remote(client, url, place, lock))
        except GitFailedError as exc:
            shutil.rmtree(place, ignore_errors=True)
            raise HostBusyError(
                f"the copy of {place.name} could not be used, and was removed: {exc}",
                hint="try again: it is fetched anew",
            ) from exc
