"""Finds, makes, names and marks the repositories of one project of ours on the host.

A repository is made under a name that only its place tells, gets its mark, and then its name. So
whoever is killed on the way leaves something that the next one goes on with, two who begin at once
make one, and nobody ever finds one of ours unmarked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from factory_runtime.domain.errors import HostBusyError, HostRejectedError, RepositoryTakenError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.errors import MissingError, TakenError, TurnedDownError
from factory_runtime.hosts.azure_devops.mirror import Mirror, open_mirror
from factory_runtime.hosts.azure_devops.origin import (
    ORIGIN,
    ORIGIN_REF,
    Origin,
    read_origin,
    unnamed,
    write_origin,
)
from factory_runtime.hosts.azure_devops.repositories import HostedRepository, Repositories
from factory_runtime.hosts.azure_devops.reviews import Reviews
from factory_runtime.hosts.git import BranchMovedError
from factory_runtime.hosts.orders import taken


@dataclass(frozen=True, slots=True)
class Found:
    """A repository as the host has it, and its mark."""

    hosted: HostedRepository
    origin: Origin | None


class Place:
    """The place of one repository, made or not.

    Args:
        client: of the organization.
        mirrors: folder of the copies.
        now: the time, for marks.
        owner: its tenant and project.
        name: of the repository.
    """

    def __init__(
        self,
        client: AzureDevOpsClient,
        mirrors: Path,
        now: Callable[[], datetime],
        owner: tuple[str, str],
        name: str,
    ) -> None:
        self._client, self._mirrors, self._now = client, mirrors, now
        self.tenant_id, self.project_id = owner
        self.name = name
        self._project = client.access.project_of(*owner)
        self.repositories = Repositories(client, self._project)
        self._unnamed = unnamed(*owner, name)

    @property
    def page(self) -> str:
        """Where people look at it, and what they clone."""
        return self._client.access.clone_url(self._project, self.name)

    def find(self) -> Found | None:
        """What is there: under its name, or on the way to it or away from it."""
        for name in (self.name, self._unnamed):
            hosted = self.repositories.find(name)
            if hosted is not None:
                # Without what it was found to have, it is gone again.
                with contextlib.suppress(MissingError):
                    return self._marked(hosted)
        return None

    def is_ours(self, found: Found) -> bool:
        """Whether the mark says so."""
        origin = found.origin
        return origin is not None and (origin.tenant_id, origin.project_id) == (
            self.tenant_id,
            self.project_id,
        )

    def is_named(self, found: Found) -> bool:
        """Whether it is under its name, which the host finds in any case."""
        return found.hosted.name.casefold() == self.name

    def is_begun(self, found: Found) -> bool:
        """Whether it was only just begun: there is nothing in it yet, not even a mark."""
        is_bare = not self.is_named(found) and found.origin is None
        return is_bare and not self.repositories.refs(found.hosted.id)

    def make(self, wanted: Origin, begun: Found | None) -> Found | None:
        """Go as far as the name, from wherever somebody was killed; None: look again.

        Args:
            wanted: whose it is to be.
            begun: what was found, which has no name yet; None where there was nothing.

        Raises:
            RepositoryTakenError: what stands there is none of ours.
        """
        found = begun
        if found is None:
            try:
                found = Found(self.repositories.create(self._unnamed), None)
            except TakenError:
                return None
            found = self._mark(found.hosted, wanted)
        elif found.origin is None:
            # Where something is in it by now, that may be the mark of another.
            is_begun = self.is_begun(found)
            found = self._mark(found.hosted, wanted) if is_begun else self._marked(found.hosted)
        if not self.is_ours(found):
            raise taken(self.project_id, self._unnamed, "exists and was not made by the factory")
        return found if self.give_name(found) else None

    def give_name(self, found: Found) -> bool:
        """Have it called as it is to be; False where that is not to be had any more."""
        try:
            self.repositories.rename(found.hosted.id, self.name)
        except (TakenError, MissingError):
            return False
        return True

    def take_name(self, found: Found) -> None:
        """Have it called as when it was begun, where people do not find it."""
        try:
            self.repositories.rename(found.hosted.id, self._unnamed)
        except TakenError as exc:
            raise HostBusyError(f"another {self.name} is being made just now") from exc

    def let_go(self, wanted: Origin) -> None:
        """Remove what was begun for this effect, since the name is another's by now."""
        hosted = self.repositories.find(self._unnamed)
        if hosted is None:
            return
        found = self._marked(hosted)
        if found.origin == wanted or self.is_begun(found):
            # Where we may not, it stays behind as it is: empty, and the name says more.
            with contextlib.suppress(HostRejectedError):
                self.repositories.delete(hosted.id)

    def reviews(self, found: Found) -> Reviews:
        owner = (self.tenant_id, self.project_id)
        return Reviews(self._client, owner, found.hosted, self.name)

    @contextmanager
    def mirror(self, hosted: HostedRepository) -> Generator[Mirror]:
        """The copy of it, which nobody else of this machine writes to meanwhile."""
        folder = self._mirrors / hosted.id / self.project_id
        url = self._client.access.clone_url(self._project, hosted.id)
        with open_mirror(folder / f"{self.name}.git", self._client, url) as mirror:
            yield mirror

    def _marked(self, hosted: HostedRepository) -> Found:
        if hosted.disabled:
            raise TurnedDownError(
                f"the repository {self.project_id}/{self.name} is disabled",
                hint="enable it in the settings of its project",
            )
        mark = self.repositories.tags(hosted.id, ORIGIN).get(ORIGIN_REF)
        message = None if mark is None else self.repositories.tag_message(hosted.id, mark)
        return Found(hosted, None if message is None else read_origin(message))

    def _mark(self, hosted: HostedRepository, wanted: Origin) -> Found:
        """Mark it; as another's, where that one was faster."""
        with self.mirror(hosted) as mirror:
            tag = write_origin(mirror.place, wanted, self._now())
            try:
                mirror.push(tag, ORIGIN_REF, None)
            except BranchMovedError:
                return self._marked(hosted)
        return Found(hosted, wanted)


def refused(place: Place, why: str) -> RepositoryTakenError:
    """The error for a place that is another's."""
    return taken(place.project_id, place.name, why)
