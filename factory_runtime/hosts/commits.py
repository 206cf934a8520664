"""Makes commits on top of a bare repository's default branch, each of them once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from factory_runtime.domain.errors import FactoryError, HostBusyError
from factory_runtime.hosts.fast_import import FastImport
from factory_runtime.hosts.git import BranchMovedError, LeftoverLockError, git
from factory_runtime.hosts.history import BRANCH, Logged, paths_at, read_log
from factory_runtime.hosts.orders import LayerCheck, Trailers, unfollowed
from factory_runtime.hosts.repository_lock import remove_leftover_lock
from factory_runtime.hosts.revert import changes_to_revert, refuse_rewritten
from factory_runtime.hosts.written import fsync_folder, read_written, save_written
from factory_runtime.ports import Commit, CommitOrder

T = TypeVar("T")

_TRIES = 10
# Every commit is a pack of its own; from here on they slow git down.
_MANY_PACKS = 50


def try_commit(
    place: Path,
    head: str | None,
    logged: Sequence[Logged],
    order: CommitOrder,
    naming: Trailers,
    importing: FastImport,
) -> Commit:
    """The commit, found or made.

    Args:
        place: the bare repository.
        head: where the default branch is.
        logged: what leads there, of the run.
        order: what the commit is to say.
        naming: the two trailers that name it.
        importing: makes it.

    Raises:
        BranchMovedError: it is to be tried again.
    """
    found = find_commit(place, logged, naming)
    if found is not None:
        return found
    check = LayerCheck(order, paths_at(place, head), _written(place, order, logged))
    sha = importing.run(head, check, partial(save_written, place, naming))
    return _made(place, sha, naming)


def try_revert(
    place: Path, head: str | None, sha: str, naming: Trailers, importing: FastImport
) -> Commit | None:
    """As ``try_commit``, of the commit that takes another back; None where that one is gone."""
    if head is None:
        return None
    logged = read_log(place, head)
    found = find_commit(place, logged, naming)
    if found is not None:
        return found
    changes = changes_to_revert(place, head, logged, sha)
    if changes is None:
        refuse_rewritten(place, head, sha)
        return None
    return _made(place, importing.run_changes(head, changes), naming)


def steadily(place: Path, make: Callable[[], T]) -> T:
    """What is made on top of the branch, again where somebody else has moved it."""
    for _ in range(_TRIES):
        try:
            return make()
        except BranchMovedError:
            continue
        except LeftoverLockError as exc:
            remove_leftover_lock(place, exc)
    raise HostBusyError(
        f"others keep moving {BRANCH} of {place.parent.name}/{place.stem}",
        hint="try again when nobody pushes to it",
    )


def _made(place: Path, sha: str, naming: Trailers) -> Commit:
    # git makes its files durable, but not their names.
    fsync_folder(place / "objects" / "pack")
    fsync_folder(place / "refs" / "heads")
    _join_packs(place)
    return _commit(place, sha, naming, created=True)


def _join_packs(place: Path) -> None:
    if sum(1 for _ in (place / "objects" / "pack").glob("*.pack")) >= _MANY_PACKS:
        # The commit stands already, and the next one tries this again.
        with contextlib.suppress(FactoryError):
            git(place, "repack", "-d", "--geometric=2", "--quiet")


def find_commit(place: Path, logged: Iterable[Logged], naming: Trailers) -> Commit | None:
    """The one among those of a log that carries both trailers."""
    sha = next((one.sha for one in logged if one.carries(naming)), None)
    return None if sha is None else _commit(place, sha, naming, created=False)


def _commit(place: Path, sha: str, naming: Trailers, *, created: bool) -> Commit:
    files = read_written(place, naming, sha)
    return Commit(sha, f"{place.as_uri()}#{sha}", len(files), created)


def _written(
    place: Path, order: CommitOrder, logged: Iterable[Logged]
) -> dict[str, dict[str, str]]:
    """Step → path → content, of the run's steps that the commit may not write over."""
    run, (step_key, _) = order.trailers[:2]
    by_step = {dict(one.trailers).get(step_key, ""): one.sha for one in logged}
    return {
        step: dict(read_written(place, (run, (step_key, step)), by_step[step]))
        for step in unfollowed(order, by_step)
    }
