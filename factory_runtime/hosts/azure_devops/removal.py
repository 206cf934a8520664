"""Takes a repository of Azure DevOps away, if it still is as we have left it.

It first loses its name, so that people find it no more, and is removed if nothing has come in
since it was looked at; else it gets its name back. Whoever is killed on the way leaves it without
its name, and the next call goes on with that. What is removed lies in the recycle bin for a month.
"""

from __future__ import annotations

from factory_runtime.domain.errors import HostBusyError
from factory_runtime.hosts.azure_devops.mirror import RUN_BRANCHES, Mirror
from factory_runtime.hosts.azure_devops.origin import ORIGIN
from factory_runtime.hosts.azure_devops.place import Found, Place
from factory_runtime.hosts.history import BRANCH, author_of, read_log
from factory_runtime.hosts.orders import FACTORY_ADDRESS, RUN_TRAILER, changed


def remove(place: Place, found: Found, mirror: Mirror, runs: frozenset[str]) -> bool:
    """Remove it; False where somebody else has.

    Args:
        place: where it is.
        found: there; it is ours.
        mirror: its copy.
        runs: whose commits may be in it.

    Raises:
        RepositoryChangedError: it is not as those runs have left it.
        HostBusyError: somebody pushes to it just now.
    """
    mirror.fetch()
    _refuse_changed(place, found, mirror, runs)
    if place.is_named(found):
        place.take_name(found)
    if place.repositories.refs(found.hosted.id) != mirror.refs():
        place.give_name(found)
        raise HostBusyError(f"others keep pushing to {place.name}", hint="try again later")
    return place.repositories.delete(found.hosted.id)


def _refuse_changed(place: Place, found: Found, mirror: Mirror, runs: frozenset[str]) -> None:
    default = found.hosted.default_branch or BRANCH
    for branch, head in mirror.branches().items():
        if branch != default and not branch.startswith(RUN_BRANCHES):
            raise changed(place.project_id, place.name, f"has the branch {branch}")
        _refuse_commits(place, mirror, head, runs)
    for tag in mirror.tags():
        if tag != ORIGIN:
            raise changed(place.project_id, place.name, f"has the tag {tag}")


def _refuse_commits(place: Place, mirror: Mirror, head: str, runs: frozenset[str]) -> None:
    for logged in read_log(mirror.place, head):
        run = dict(logged.trailers).get(RUN_TRAILER)
        if run not in runs or logged.committer != FACTORY_ADDRESS:
            by = run if run and run not in runs else author_of(mirror.place, logged.sha)
            raise changed(place.project_id, place.name, f"has commit {logged.sha[:12]} of {by}")
