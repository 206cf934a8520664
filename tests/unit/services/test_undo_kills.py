"""Undos whose process dies, at every transaction and around every effect: gone on with, done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from typing import Any, cast

import pytest

from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.ports import GitHost, RunStore
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.undo_run import Undoer
from tests.builders import TENANT
from tests.faults import FaultyStore, Point
from tests.undoing import UndoFactory

TWO = """
steps:
  - {name: generate, type: repo, undo: delete-repository, with: {repository: orders, source: files}}
  - {name: layer, type: layer, needs: [generate], undo: revert-commit,
     with: {repository: orders, source: files}}
"""
WITHOUT_REMOVAL = TWO.replace("undo: delete-repository", "undo: revert-commit")
POINTS: tuple[Point, ...] = ("commit", "answer")


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours handles it."""


class DeadlyStore(FaultyStore):
    """A store whose user dies where it would fail."""

    def _maybe(self, point: Point, plan: tuple[Point, int] | None) -> None:
        if plan is not None and plan[0] == point:
            self.fired[point] += 1
            raise Killed


class DeadlyHost:
    """A host whose user dies before or after one of its effects, told by its number from 1."""

    def __init__(self, host: GitHost, number: int, *, before: bool) -> None:
        self._host, self._left, self._before = host, number, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def revert_commit(self, *arguments: Any, **named: Any) -> Any:
        return self._act(lambda: self._host.revert_commit(*arguments, **named))

    def remove_repository(self, *arguments: Any, **named: Any) -> Any:
        return self._act(lambda: self._host.remove_repository(*arguments, **named))

    def _act(self, effect: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left == 0 and self._before:
            raise Killed
        result = effect()
        if self._left == 0:
            raise Killed
        return result


@pytest.fixture
def factory(tmp_path: Path, database_store: SqlRunStore) -> UndoFactory:
    return UndoFactory(tmp_path / "templates", database_store)


def finish(factory: UndoFactory, run: Run, undoing: Run) -> None:
    """Have another process go on with an undo, and see that all of it is as without a kill."""
    factory.clock.pass_time(factory.engine.lease)
    if not factory.run(undoing).ended:  # it may have died of its last answer
        factory.walk(factory.run(undoing))
    assert factory.run(undoing).status is RunStatus.SUCCEEDED
    factory.tidy()
    ledger = factory.ledger(run)
    if factory.repository(run) is not None:  # nobody was to remove it
        assert ledger.pop("generate repository") is EffectStatus.ORPHANED
    assert set(ledger.values()) == {EffectStatus.UNDONE}
    assert all(attempt.outcome is not None for attempt in factory.attempts(undoing))


def kill_in_store(
    factory: UndoFactory, run: Run, number: int, point: Point
) -> tuple[Run, DeadlyStore]:
    undoing = factory.undo(run)
    store = DeadlyStore(factory.store, at={number: (point, 0)})
    engine = factory.engine_of("build-7:1", cast(RunStore, store))
    with suppress(Killed):
        factory.walk(undoing, engine)
    return undoing, store


def kills_at_any_transaction() -> Iterator[Any]:
    """Each database, each point and each kind of undo; all of their pairs; the rest in the soak.

    Every second transaction of each; every one in the soak.
    """
    for database, point, text in product(("sqlite", "postgres"), POINTS, (TWO, WITHOUT_REMOVAL)):
        kind = "removed" if text == TWO else "reverted"
        marks = [pytest.mark.service] if database == "postgres" else []
        name = f"{database}-{point}-{kind}"
        if not (database == "sqlite") ^ (point == "commit") ^ (kind == "removed"):
            # Odd ones at one database, even ones at the other.
            yield pytest.param(
                database, point, text, 1 + (database == "sqlite"), 2, marks=marks, id=name
            )
        marks.append(pytest.mark.soak)
        yield pytest.param(database, point, text, 1, 1, marks=marks, id=f"{name}-each")


@pytest.mark.parametrize(
    ("database_url", "point", "text", "first", "step"),
    [*kills_at_any_transaction()],
    indirect=["database_url"],
)
def test_an_undo_that_is_killed_at_any_transaction_is_finished_once(
    factory: UndoFactory, text: str, point: Point, first: int, step: int
):
    for number in count(first, step):
        run = factory.made(text)
        undoing, store = kill_in_store(factory, run, number, point)
        if not store.fired:
            assert number > 10, "every transaction of the undo was killed in"
            return
        finish(factory, run, undoing)
        if text == TWO:
            assert factory.repository(run) is None
        else:
            assert factory.repository(run) == []
            assert commits_of(factory, undoing) == ["undo-generate", "undo-layer"]
            forget(factory, run)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("text", [TWO, WITHOUT_REMOVAL], ids=["removed", "reverted"])
def test_an_undo_that_is_killed_around_its_effects_does_them_once(
    factory: UndoFactory, text: str, before: bool
):
    for number in (1, 2):
        run = factory.made(text)
        undoing = factory.undo(run)
        host = cast(GitHost, DeadlyHost(factory.host, number, before=before))
        with pytest.raises(Killed):
            factory.walk(undoing, replace(factory.engine_of("build-7:1"), host=host))
        finish(factory, run, undoing)
        if text == TWO:
            assert factory.repository(run) is None
        else:
            assert commits_of(factory, undoing) == ["undo-generate", "undo-layer"]
            forget(factory, run)


@pytest.mark.parametrize("point", POINTS)
def test_who_is_killed_asking_for_an_undo_has_asked_for_it_or_not(
    factory: UndoFactory, point: Point
):
    for number in (1, 2):
        run = factory.made(TWO)
        store = cast(RunStore, DeadlyStore(factory.store, at={number: (point, 0)}))
        with pytest.raises(Killed):
            Undoer(store, factory.storage, factory.clock).undo(TENANT, run.id, "ada")
        factory.tidy()
        undoing = factory.undoing(run)
        assert (undoing is None) is ((number, point) == (1, "commit"))
        finish(factory, run, undoing or factory.undo(run))


def test_a_person_who_pushes_between_two_attempts_keeps_the_repository(factory: UndoFactory):
    run = factory.made(TWO)
    undoing = factory.undo(run)
    host = cast(GitHost, DeadlyHost(factory.host, 2, before=True))
    with pytest.raises(Killed):
        factory.walk(undoing, replace(factory.engine_of("build-7:1"), host=host))
    factory.push(run)
    factory.clock.pass_time(factory.engine.lease)
    assert factory.walk(factory.run(undoing)).status is RunStatus.SUCCEEDED
    assert factory.repository(run) == ["notes", "readme"]
    assert factory.ledger(run)["generate repository"] is EffectStatus.ORPHANED


def commits_of(factory: UndoFactory, undoing: Run) -> list[str]:
    """The steps of the undo that have made a commit, each as often as it has."""
    assert isinstance(factory.host, InMemoryGitHost)
    commits = factory.host.commits(TENANT, undoing.project_id, "orders")
    trailers = [dict(commit.trailers) for commit in commits]
    return sorted(one["Factory-Step"] for one in trailers if one["Factory-Run"] == undoing.id)


def forget(factory: UndoFactory, run: Run) -> None:
    """Begin with an empty host."""
    factory.host = InMemoryGitHost()
    factory.engine = replace(factory.engine, host=factory.host)
    del run
