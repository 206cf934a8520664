"""Repositories of an organisation of Azure DevOps, as a git host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from factory_runtime.domain.errors import HostBusyError
from factory_runtime.domain.repository import check_repository_name
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.errors import MissingError
from factory_runtime.hosts.azure_devops.inspection import inspect
from factory_runtime.hosts.azure_devops.mirror import Mirror
from factory_runtime.hosts.azure_devops.origin import Origin
from factory_runtime.hosts.azure_devops.place import Found, Place, refused
from factory_runtime.hosts.azure_devops.publication import Make, Publication
from factory_runtime.hosts.azure_devops.removal import remove
from factory_runtime.hosts.azure_devops.repositories import HostedRepository, Repositories
from factory_runtime.hosts.commits import steadily, try_commit, try_revert
from factory_runtime.hosts.fast_import import FastImport
from factory_runtime.hosts.git import BranchMovedError
from factory_runtime.hosts.history import BRANCH, Logged, read_log
from factory_runtime.hosts.orders import (
    RUN_TRAILER,
    Trailers,
    changed,
    check_owner,
    checked_trailers,
    no_repository,
)
from factory_runtime.ports import Commit, CommitOrder, Delivery, HostFindings, Repository

_TRIES = 10


class AzureDevOpsGitHost:
    """Implements ``GitHost``. Our projects are its projects, which somebody has made there.

    Commits are made in a copy, one behind the other on this machine, and pushed where the branch
    still is as it was; whoever was slower makes theirs again on top. That each is made once rests
    on its trailers.

    Args:
        client: of the organization.
        mirrors: folder of the copies; it may be lost at any time.
        now: the time, for marks.
        delivery: what comes after a repository.
    """

    name = "azure-devops"

    def __init__(
        self,
        client: AzureDevOpsClient,
        mirrors: Path,
        now: Callable[[], datetime],
        delivery: Delivery | None = None,
    ) -> None:
        self._client, self._mirrors, self._now = client, mirrors.absolute(), now
        self._delivery = delivery

    def delivery_of(self, tenant_id: str) -> Delivery | None:
        """The same for each tenant that this organization is opened for."""
        del tenant_id
        return self._delivery

    def inspect(self, tenant_id: str, project_id: str) -> HostFindings:
        return inspect(self._client, self, tenant_id, project_id)

    def find_repository(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        place = self._place(tenant_id, project_id, name)
        found = place.find()
        return _told(place, found) if found is not None and place.is_ours(found) else None

    def find_adoptable(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        place = self._place(tenant_id, project_id, name)
        found = place.find()
        if found is None or not place.is_named(found):
            return None
        _refuse_taken(place, found)
        return _told(place, found)

    def ensure_repository(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str, description: str
    ) -> Repository:
        del description  # there is no room for one
        place = self._place(tenant_id, project_id, name)
        wanted = Origin(tenant_id, project_id, effect_key)
        for _ in range(_TRIES):
            found = place.find()
            if found is not None and place.is_named(found):
                if found.origin != wanted:
                    place.let_go(wanted)
                _refuse_taken(place, found)
                return _told(place, found)
            made = place.make(wanted, found)
            if made is not None:
                _refuse_taken(place, made)
                return _told(place, made, created=made.origin == wanted)
        raise HostBusyError(f"others keep making {name}, and removing it", hint="try again later")

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        naming = checked_trailers(order.trailers)[:2]
        place = self._place(tenant_id, order.project_id, order.repository)
        found = place.find()
        missing = no_repository(order.project_id, order.repository)
        if found is None or not place.is_ours(found):
            raise missing
        if not place.is_named(found) and not place.give_name(found):
            raise missing
        try:
            with place.mirror(found.hosted) as mirror:
                importing = FastImport(mirror.place, order, files, mirror.lock)

                def make(head: str | None, logged: Sequence[Logged]) -> Commit | None:
                    return try_commit(mirror.place, head, logged, order, naming, importing)

                commit = _published(place, found, mirror, naming, make)
        except MissingError as exc:
            raise missing from exc
        if commit is None:
            raise AssertionError("a commit that is to be made is made")
        return commit

    def find_commit(
        self, tenant_id: str, project_id: str, repository: str, trailers: Trailers
    ) -> Commit | None:
        naming = checked_trailers(trailers)[:2]
        place = self._place(tenant_id, project_id, repository)
        found = place.find()
        if found is None or not place.is_ours(found):
            return None
        try:
            with place.mirror(found.hosted) as mirror:
                mirror.bring_up(place.repositories.refs(found.hosted.id))
                commit = _publication(place, found, mirror, naming).find()
        except MissingError:
            return None
        return commit and _linked(place, commit)

    def revert_commit(self, tenant_id: str, order: CommitOrder, sha: str) -> Commit | None:
        naming = checked_trailers(order.trailers)[:2]
        place = self._place(tenant_id, order.project_id, order.repository)
        found = place.find()
        if found is None:
            return None
        if not place.is_ours(found):
            raise changed(order.project_id, order.repository, "has no marks of the factory")
        try:
            with place.mirror(found.hosted) as mirror:
                importing = FastImport(mirror.place, order, (), mirror.lock)

                def make(head: str | None, logged: Sequence[Logged]) -> Commit | None:
                    del logged  # the commit may be of another run
                    return try_revert(mirror.place, head, sha, naming, importing)

                return _published(place, found, mirror, naming, make, sha)
        except MissingError:
            return None

    def remove_repository(
        self,
        tenant_id: str,
        project_id: str,
        name: str,
        *,
        effect_key: str,
        runs: frozenset[str],
    ) -> bool:
        place = self._place(tenant_id, project_id, name)
        found = place.find()
        if found is None:
            return False
        if place.is_begun(found):
            return place.repositories.delete(found.hosted.id)
        if not place.is_ours(found) or found.origin is None:
            raise changed(project_id, name, "was not made by the factory")
        if found.origin.effect_key != effect_key:
            raise changed(project_id, name, f"was made by {found.origin.effect_key}")
        try:
            with place.mirror(found.hosted) as mirror:
                return remove(place, found, mirror, runs)
        except MissingError:
            return False

    def copies_of(self, tenant_id: str, project_id: str) -> Mapping[str, Path]:
        hosted = Repositories(
            self._client, self._client.access.project_of(tenant_id, project_id)
        ).list()
        return {one.name: self._copy(tenant_id, project_id, one) for one in hosted}

    def _copy(self, tenant_id: str, project_id: str, hosted: HostedRepository) -> Path:
        with self._place_of(tenant_id, project_id, hosted.id).mirror(hosted) as mirror:
            mirror.fetch()
            mirror.stand_on(mirror.branches().get(hosted.default_branch or BRANCH))
            return mirror.place

    def _place(self, tenant_id: str, project_id: str, name: str) -> Place:
        return self._place_of(tenant_id, project_id, check_repository_name(name))

    def _place_of(self, tenant_id: str, project_id: str, name: str) -> Place:
        check_owner(tenant_id, project_id)
        return Place(self._client, self._mirrors, self._now, (tenant_id, project_id), name)


def _told(place: Place, found: Found, *, created: bool = False) -> Repository:
    branch = found.hosted.default_branch or BRANCH
    made_by = found.origin and found.origin.effect_key
    return Repository(found.hosted.id, place.name, place.page, branch, created, made_by)


def _refuse_taken(place: Place, found: Found) -> None:
    """Refuse what is none of ours, or what people work in.

    Raises:
        RepositoryTakenError: it is.
    """
    if not place.is_ours(found):
        raise refused(place, "exists and was not made by the factory")
    if found.hosted.default_branch is None:
        return
    with place.mirror(found.hosted) as mirror:
        mirror.bring_up(place.repositories.refs(found.hosted.id))
        head = mirror.branches().get(found.hosted.default_branch)
        logged = read_log(mirror.place, head)
    theirs = [one.sha for one in logged if RUN_TRAILER not in dict(one.trailers)]
    # What people merge is ours; the commit that says so is theirs.
    merges = place.reviews(found).merges() if theirs else set[str]()
    for sha in theirs:
        if sha not in merges:
            raise refused(place, f"has commits of people, like {sha[:12]}")


def _publication(place: Place, found: Found, mirror: Mirror, naming: Trailers) -> Publication:
    return Publication(mirror, place.reviews(found), found.hosted.default_branch, naming)


def _published(
    place: Place,
    found: Found,
    mirror: Mirror,
    naming: Trailers,
    make: Make,
    reverts: str | None = None,
) -> Commit | None:
    """The commit, found or made and pushed, again where somebody else was faster."""
    publication = _publication(place, found, mirror, naming)

    def attempt() -> Commit | None:
        beside = None if reverts is None else publication.branch_of(reverts)
        try:
            return publication.ensure(make, beside)
        except BranchMovedError:
            mirror.fetch()
            raise

    mirror.bring_up_to_push()
    commit = steadily(mirror.place, attempt)
    return commit and _linked(place, commit)


def _linked(place: Place, commit: Commit) -> Commit:
    return replace(commit, url=f"{place.page}/commit/{commit.sha}")
