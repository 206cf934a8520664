"""Bare repositories in a folder, for one machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

from factory_runtime.domain.disk import disk_errors
from factory_runtime.domain.errors import FactoryError, NotFoundError
from factory_runtime.domain.repository import check_repository_name
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.bare_repository import create_repository, read_marks
from factory_runtime.hosts.commits import find_commit, steadily, try_commit, try_revert
from factory_runtime.hosts.fast_import import FastImport
from factory_runtime.hosts.history import BRANCH, head_of, read_log
from factory_runtime.hosts.orders import (
    RUN_TRAILER,
    Trailers,
    changed,
    check_owner,
    checked_trailers,
    no_repository,
    taken,
)
from factory_runtime.hosts.removal import Removal, find_aside, refuse_unlocked
from factory_runtime.hosts.repository_lock import repository_lock, sweep_leftovers
from factory_runtime.ports import Commit, CommitOrder, Delivery, Repository


class LocalGitHost:
    """Implements ``GitHost`` as ``<folder>/<tenant>/<project>/<name>.git``.

    A repository is ours if its own configuration says so. Commits to one repository come one
    after the other under a lock that dies with its holder; that they are made once rests on their
    trailers, and on git refusing to move a branch that somebody else has moved.
    """

    name = "local"

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def delivery_of(self, tenant_id: str) -> Delivery | None:
        """Nothing: it has repositories alone."""
        del tenant_id

    def find_repository(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        place = self._place(tenant_id, project_id, name)
        with disk_errors(place):
            if _is_ours(place):
                return self._repository(place)
            # A removal that was cut off has hidden it: it is there until somebody ends that.
            aside = None if os.path.lexists(place) else find_aside(place)
            return None if aside is None else self._repository(place, kept_in=aside)

    def find_adoptable(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        place = self._place(tenant_id, project_id, name)
        with disk_errors(place):
            if os.path.lexists(place):
                with _while_it_stands(place):
                    _adopt(place)
                    return self._repository(place)
        return None

    def ensure_repository(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str, description: str
    ) -> Repository:
        place = self._place(tenant_id, project_id, name)
        marks = {
            "tenant": tenant_id,
            "project": project_id,
            "effectKey": effect_key,
            "createdBy": "factory-runtime",
        }
        with disk_errors(self._folder):
            _refuse_clash(place)
            created = not os.path.lexists(place) and create_repository(place, marks, description)
            if not created:
                with _while_it_stands(place):
                    _adopt(place)
                    return self._repository(place)
                created = create_repository(place, marks, description)
            return self._repository(place, created=created)

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        naming = checked_trailers(order.trailers)[:2]
        place = self._place(tenant_id, order.project_id, order.repository)
        with disk_errors(place):
            if not _is_ours(place):
                raise no_repository(order.project_id, order.repository)
            with repository_lock(place) as lock:
                sweep_leftovers(place)
                importing = FastImport(place, order, files, lock)

                def attempt() -> Commit:
                    head = head_of(place)
                    logged = read_log(place, head, naming[0])
                    return try_commit(place, head, logged, order, naming, importing)

                return steadily(place, attempt)

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
        with disk_errors(place):
            # Looked at twice: somebody else may be removing it, and another one be making it anew.
            if not _is_ours(place) and os.path.lexists(place) and not _is_ours(place):
                raise changed(project_id, name, "was not made by the factory")
            return Removal(place, effect_key, runs).run()

    def revert_commit(self, tenant_id: str, order: CommitOrder, sha: str) -> Commit | None:
        naming = checked_trailers(order.trailers)[:2]
        place = self._place(tenant_id, order.project_id, order.repository)
        with disk_errors(place):
            if not os.path.lexists(place):
                return None
            if not _is_ours(place):
                raise changed(order.project_id, order.repository, "has no marks of the factory")
            with contextlib.suppress(NotFoundError), repository_lock(place) as lock:
                sweep_leftovers(place)
                importing = FastImport(place, order, (), lock)
                return steadily(
                    place, lambda: try_revert(place, head_of(place), sha, naming, importing)
                )
            refuse_unlocked(place)
        return None

    def find_commit(
        self, tenant_id: str, project_id: str, repository: str, trailers: Trailers
    ) -> Commit | None:
        naming = checked_trailers(trailers)[:2]
        place = self._place(tenant_id, project_id, repository)
        with disk_errors(place):
            if _is_ours(place):
                with _while_it_stands(place):
                    return find_commit(place, read_log(place, head_of(place), naming[0]), naming)
        return None

    def copies_of(self, tenant_id: str, project_id: str) -> Mapping[str, Path]:
        check_owner(tenant_id, project_id)
        places = sorted((self._folder / tenant_id / project_id).glob("*.git"))
        return {place.stem: place for place in places}

    def _place(self, tenant_id: str, project_id: str, name: str) -> Path:
        check_owner(tenant_id, project_id)
        return self._folder / tenant_id / project_id / f"{check_repository_name(name)}.git"

    def _repository(
        self, place: Path, *, created: bool = False, kept_in: Path | None = None
    ) -> Repository:
        path = place.relative_to(self._folder).as_posix().removesuffix(".git")
        # git spells its keys in lower case.
        made_by = read_marks(kept_in or place).get("effectkey")
        return Repository(path, place.stem, place.as_uri(), BRANCH, created, made_by)


def _is_ours(place: Path) -> bool:
    marks = read_marks(place)
    owner = (marks.get("tenant"), marks.get("project"))
    return owner == (place.parent.parent.name, place.parent.name)


@contextlib.contextmanager
def _while_it_stands(place: Path) -> Generator[None]:
    """Suppress what fails because somebody removes the repository meanwhile."""
    try:
        yield
    except FactoryError:
        with contextlib.suppress(FileNotFoundError):  # of a share that is away nobody knows
            place.lstat()
            raise


def _refuse_clash(place: Path) -> None:
    """Refuse a name that differs from another's in case alone: not every disk tells them apart."""
    if not place.parent.is_dir():
        return
    for entry in place.parent.iterdir():
        if entry.name != place.name and entry.name.casefold() == place.name.casefold():
            raise taken(place.parent.name, place.stem, f"differs from {entry.name} in case alone")


def _adopt(place: Path) -> None:
    project = place.parent.name
    if not _is_ours(place):
        raise taken(project, place.stem, "exists and was not made by the factory")
    for logged in read_log(place, head_of(place)):
        if RUN_TRAILER not in dict(logged.trailers):
            raise taken(project, place.stem, f"has commits of people, like {logged.sha[:12]}")
