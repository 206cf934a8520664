"""A git host in this process, for tests and dry runs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from factory_runtime.domain.errors import NotFoundError
from factory_runtime.domain.repository import check_repository_name
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.orders import (
    RUN_TRAILER,
    LayerCheck,
    Trailers,
    changed,
    check_owner,
    checked_trailers,
    full_message,
    no_repository,
    taken,
    unfollowed,
)
from factory_runtime.ports import Commit, CommitOrder, Delivery, Repository

_Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class InMemoryCommit:
    """A commit as kept.

    Attributes:
        files: what it wrote, by path; None removed it.
        before: what was there before it, of these.
    """

    sha: str
    message: str
    trailers: Trailers
    author: str
    files: Mapping[str, TreeFile | None]
    before: Mapping[str, TreeFile | None]


@dataclass(slots=True)
class _Kept:
    ours: bool = True
    effect_key: str | None = None
    commits: list[InMemoryCommit] = field(default_factory=list[InMemoryCommit])
    tree: dict[str, TreeFile] = field(default_factory=dict[str, TreeFile])


class InMemoryGitHost:
    """Implements ``GitHost``. ``push`` does what a person could do."""

    name = "memory"

    def __init__(self) -> None:
        self._kept: dict[_Place, _Kept] = {}
        self._lock = threading.Lock()

    def delivery_of(self, tenant_id: str) -> Delivery | None:
        """Nothing: it has repositories alone."""
        del tenant_id

    def find_repository(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        place = _place(tenant_id, project_id, name)
        kept = self._kept.get(place)
        return _repository(place, kept) if kept is not None and kept.ours else None

    def ensure_repository(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str, description: str
    ) -> Repository:
        place = _place(tenant_id, project_id, name)
        with self._lock:
            created = place not in self._kept
            kept = self._kept.setdefault(place, _Kept(effect_key=effect_key))
            _refuse_taken(place, kept)
        return _repository(place, kept, created=created)

    def find_adoptable(self, tenant_id: str, project_id: str, name: str) -> Repository | None:
        place = _place(tenant_id, project_id, name)
        with self._lock:
            kept = self._kept.get(place)
            if kept is None:
                return None
            _refuse_taken(place, kept)
        return _repository(place, kept)

    def ensure_commit(
        self, tenant_id: str, order: CommitOrder, files: Iterable[TreeFile]
    ) -> Commit:
        trailers = checked_trailers(order.trailers)
        place = _place(tenant_id, order.project_id, order.repository)
        with self._lock:
            kept = self._kept.get(place)
            if kept is None or not kept.ours:
                raise no_repository(order.project_id, order.repository)
            found = _find(place, kept, trailers[:2])
            if found is not None:
                return found
            check = LayerCheck(order, kept.tree, _written(order, kept))
            new: dict[str, TreeFile] = {}
            for file in files:
                check.add(file.path, _content(file))
                new[file.path] = file
            return _commit(place, _append(kept, order, new), created=True)

    def remove_repository(
        self,
        tenant_id: str,
        project_id: str,
        name: str,
        *,
        effect_key: str,
        runs: frozenset[str],
    ) -> bool:
        place = _place(tenant_id, project_id, name)
        with self._lock:
            kept = self._kept.get(place)
            if kept is None:
                return False
            if not kept.ours:
                raise changed(project_id, name, "was not made by the factory")
            if kept.effect_key != effect_key:
                raise changed(project_id, name, f"was made by {kept.effect_key}")
            for commit in kept.commits:
                run = dict(commit.trailers).get(RUN_TRAILER)
                if run not in runs:
                    by = run or commit.author
                    raise changed(project_id, name, f"has commit {commit.sha[:12]} of {by}")
            del self._kept[place]
        return True

    def revert_commit(self, tenant_id: str, order: CommitOrder, sha: str) -> Commit | None:
        trailers = checked_trailers(order.trailers)
        place = _place(tenant_id, order.project_id, order.repository)
        with self._lock:
            kept = self._kept.get(place)
            if kept is None:
                return None
            if not kept.ours:
                raise changed(order.project_id, order.repository, "has no marks of the factory")
            found = _find(place, kept, trailers[:2])
            if found is not None:
                return found
            commit = next((one for one in kept.commits if one.sha == sha), None)
            if commit is None:
                return None
            return _commit(
                place, _append(kept, order, _reverting(place, kept, commit)), created=True
            )

    def find_commit(
        self, tenant_id: str, project_id: str, repository: str, trailers: Trailers
    ) -> Commit | None:
        naming = checked_trailers(trailers)[:2]
        place = _place(tenant_id, project_id, repository)
        with self._lock:
            kept = self._kept.get(place)
            return None if kept is None else _find(place, kept, naming)

    def files(self, tenant_id: str, project_id: str, name: str) -> dict[str, TreeFile]:
        """The default branch's tree, by path."""
        return dict(self._get(tenant_id, project_id, name).tree)

    def commits(self, tenant_id: str, project_id: str, name: str) -> list[InMemoryCommit]:
        """The default branch's commits, oldest first."""
        return list(self._get(tenant_id, project_id, name).commits)

    def push(self, tenant_id: str, project_id: str, name: str, *files: TreeFile) -> None:
        """Commit as a person would, without trailers, making the repository where it is missing."""
        with self._lock:
            place = _place(tenant_id, project_id, name)
            kept = self._kept.setdefault(place, _Kept(ours=False))
            hand = replace(_BY_HAND, project_id=project_id, repository=name)
            _append(kept, hand, {file.path: file for file in files})

    def _get(self, tenant_id: str, project_id: str, name: str) -> _Kept:
        kept = self._kept.get(_place(tenant_id, project_id, name))
        if kept is None:
            raise NotFoundError(f"no repository {project_id}/{name}")
        return kept


_BY_HAND = CommitOrder("", "", "By hand\n", (), "Ann", datetime(2026, 1, 1, tzinfo=UTC))


def _append(
    kept: _Kept, order: CommitOrder, files: Mapping[str, TreeFile | None]
) -> InMemoryCommit:
    parent = kept.commits[-1].sha if kept.commits else ""
    message = full_message(order) if order.trailers else order.message
    text = f"{parent}\n{message}\n{[(path, _content(file)) for path, file in files.items()]}"
    sha = hashlib.sha1(text.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()
    before = {path: kept.tree.get(path) for path in files}
    commit = InMemoryCommit(sha, message, order.trailers, order.author, files, before)
    kept.commits.append(commit)
    for path, file in files.items():
        if file is None:
            kept.tree.pop(path, None)
        else:
            kept.tree[path] = file
    return commit


def _reverting(place: _Place, kept: _Kept, commit: InMemoryCommit) -> dict[str, TreeFile | None]:
    """The files as they were before a commit, of those that are not so by now."""
    if RUN_TRAILER not in dict(commit.trailers):
        raise changed(*place[1:], f"has commit {commit.sha[:12]} of {commit.author}")
    later = kept.commits[kept.commits.index(commit) + 1 :]
    wanted: dict[str, TreeFile | None] = {}
    for path, after in commit.files.items():
        before, there = commit.before[path], kept.tree.get(path)
        if there not in (before, after):
            last = next(one for one in reversed(later) if path in one.files)
            by = f"since commit {last.sha[:7]} of {last.author}"
            raise changed(*place[1:], f"has another {path}, {by}")
        if there != before:
            wanted[path] = before
        elif before is None and after is not None:
            _refuse_moved(place, kept, path, after)
    return wanted


def _refuse_moved(place: _Place, kept: _Kept, path: str, after: TreeFile) -> None:
    """A file that a person took away is gone, unless what is in it stands under another name."""
    last = next(one for one in reversed(kept.commits) if path in one.files)
    if RUN_TRAILER in dict(last.trailers) or not after.content:
        return
    moved = [other for other, file in kept.tree.items() if file.content == after.content]
    if moved:
        where = f"{moved[0]}, {path} before commit {last.sha[:12]} of {last.author}"
        raise changed(*place[1:], f"has {where}")


def _refuse_taken(place: _Place, kept: _Kept) -> None:
    if not kept.ours:
        raise taken(*place[1:], "exists and was not made by the factory")
    for commit in kept.commits:
        if RUN_TRAILER not in dict(commit.trailers):
            raise taken(*place[1:], f"has commits of people, like {commit.sha[:12]}")


def _find(place: _Place, kept: _Kept, naming: Trailers) -> Commit | None:
    for commit in kept.commits:
        if set(naming) <= set(commit.trailers):
            return _commit(place, commit, created=False)
    return None


def _written(order: CommitOrder, kept: _Kept) -> dict[str, dict[str, str]]:
    run, (step_key, _) = order.trailers[:2]
    by_step = {
        dict(commit.trailers).get(step_key, ""): commit
        for commit in kept.commits
        if run in commit.trailers
    }
    return {
        step: {path: _content(file) for path, file in by_step[step].files.items()}
        for step in unfollowed(order, by_step)
    }


def _content(file: TreeFile | None) -> str:
    if file is None:
        return ""
    digest = hashlib.sha256(file.content).hexdigest()
    return f"{file.executable} {file.link} {digest}"


def _commit(place: _Place, commit: InMemoryCommit, *, created: bool) -> Commit:
    return Commit(commit.sha, f"{_url(place)}#{commit.sha}", len(commit.files), created)


def _repository(place: _Place, kept: _Kept, *, created: bool = False) -> Repository:
    return Repository("/".join(place), place[2], _url(place), "main", created, kept.effect_key)


def _url(place: _Place) -> str:
    return f"memory://{'/'.join(place)}.git"


def _place(tenant_id: str, project_id: str, name: str) -> _Place:
    check_owner(tenant_id, project_id)
    return tenant_id, project_id, check_repository_name(name)
