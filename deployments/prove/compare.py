"""What a disturbed run has left against what an undisturbed one has: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deployments.prove.world import ArtifactKey, Left, LeftEffect, LeftRepository
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus

Differs = Mapping[str, tuple[str, ...]]
"""What differs, for people, by check; a check that holds has nothing."""


@dataclass(frozen=True)
class Reference:
    """What every run has to leave.

    Attributes:
        left: by the undisturbed run.
        varying_trees: repositories whose files hold something of the run itself, like its id:
            their trees differ between any two runs, and only their paths are compared.
        varying_artifacts: sorts of artifacts whose digests do, likewise.
    """

    left: Left
    varying_trees: frozenset[str] = frozenset()
    varying_artifacts: frozenset[ArtifactKey] = frozenset()

    @property
    def varying(self) -> tuple[str, ...]:
        """What varies, for people."""
        return (*sorted(self.varying_trees), *sorted(map(_sort, self.varying_artifacts)))


def reference_of(one: Left, another: Left) -> Reference:
    """What two undisturbed runs have in common; the first stands for the rest."""
    trees = {
        name
        for name, repository in one.repositories.items()
        if name in another.repositories and another.repositories[name].tree != repository.tree
    }
    artifacts = {
        key for key, digests in one.artifacts.items() if another.artifacts.get(key) != digests
    }
    return Reference(one, frozenset(trees), frozenset(artifacts))


def compare(reference: Reference, left: Left, finished: Mapping[str, int]) -> Differs:
    """What a run has left that is not as it should be.

    Args:
        reference: as it should be.
        left: by the disturbed run.
        finished: attempts of the jobs that had Succeeded when it was disturbed.
    """
    return {
        "run": tuple(_run(reference.left, left)),
        "tree": tuple(_trees(reference, left)),
        "artifacts": tuple(_artifacts(reference, left)),
        "effects": (*_effects(reference.left, left), *_undone(reference.left, left)),
        "attempts": tuple(_attempts(left, finished)),
    }


def check_alone(left: Left) -> Differs:
    """What is wrong with what a run has left, whatever another one would leave."""
    return compare(Reference(left), left, {})


def _run(good: Left, left: Left) -> Iterable[str]:
    if left.status is not good.status:
        yield f"the run is {left.status}, not {good.status}: {left.error or 'without an error'}"
    for step, status in left.jobs.items():
        if status is not good.jobs.get(step):
            yield f"{step} is {status}, not {good.jobs.get(step)}"
    if left.flow_run != good.flow_run:
        yield f"Prefect shows {left.flow_run}, not {good.flow_run}"


def _trees(reference: Reference, left: Left) -> Iterable[str]:
    good = reference.left.repositories
    yield from _missing_or_new("repository", good, left.repositories)
    for name in sorted(good.keys() & left.repositories.keys()):
        yield from _tree(name, good[name], left.repositories[name], name in reference.varying_trees)


def _tree(name: str, good: LeftRepository, left: LeftRepository, varies: bool) -> Iterable[str]:
    if left.paths != good.paths:
        different = sorted({*left.paths} ^ {*good.paths})
        yield f"{name} has other files: {', '.join(different[:5])}"
    elif left.tree != good.tree and not varies:
        yield f"{name} has the tree {left.tree}, not {good.tree}"


def _artifacts(reference: Reference, left: Left) -> Iterable[str]:
    good = reference.left.artifacts
    yield from _missing_or_new("artifact", map(_sort, good), map(_sort, left.artifacts))
    for key in sorted(good.keys() & left.artifacts.keys()):
        if len(left.artifacts[key]) != len(good[key]):
            yield f"{_sort(key)}: {len(left.artifacts[key])} of them, not {len(good[key])}"
        elif left.artifacts[key] != good[key] and key not in reference.varying_artifacts:
            yield f"{_sort(key)}: other bytes"


def _sort(key: ArtifactKey) -> str:
    return " ".join(key)


def _effects(good: Left, left: Left) -> Iterable[str]:
    lines = {(effect.step, effect.kind): effect.status for effect in good.effects}
    now = {(effect.step, effect.kind) for effect in left.effects}
    yield from _missing_or_new("effect", map(" ".join, lines), map(" ".join, now))
    for effect in left.effects:
        yield from _effect(effect, lines.get((effect.step, effect.kind)), left)
    for name, repository in left.repositories.items():
        wanted = good.repositories[name].commits if name in good.repositories else Counter[str]()
        for step in sorted(repository.commits | wanted):
            yield from _commits(name, step, repository.commits[step], wanted[step])


def _effect(effect: LeftEffect, good: EffectStatus | None, left: Left) -> Iterable[str]:
    name = f"{effect.step} {effect.kind}"
    done = left.jobs.get(effect.step) is JobStatus.SUCCEEDED
    if effect.status is not EffectStatus.CONFIRMED:
        if done or good is EffectStatus.CONFIRMED:
            yield f"{name} is only {effect.status} in the ledger"
    elif effect.trouble is not None:
        yield f"{name}: its probe fails: {effect.trouble}"
    elif effect.found is None:
        if left.undone is None:  # a commit that takes another back goes with its repository
            yield f"{name} is confirmed, and its probe does not find it"
    elif effect.found != effect.reference:
        yield f"{name} is {effect.reference} in the ledger, and its probe finds {effect.found}"


def _undone(good: Left, left: Left) -> Iterable[str]:
    """What an undo has not settled, or only says that it has."""
    lines = {(effect.step, effect.kind): effect for effect in good.undone or ()}
    now = {(effect.step, effect.kind) for effect in left.undone or ()}
    yield from _missing_or_new("effect", map(" ".join, lines), map(" ".join, now))
    for effect in left.undone or ():
        name = f"{effect.step} {effect.kind}"
        wanted = lines.get((effect.step, effect.kind), effect)
        if effect.status not in (EffectStatus.UNDONE, EffectStatus.ORPHANED):
            yield f"{name} is still {effect.status} in the ledger after the undo"
        elif effect.status is not wanted.status:
            yield f"{name} is {effect.status}, not {wanted.status}"
        elif wanted.found is None and effect.found is not None:
            # A commit that was taken back is still there, and its probe finds it in peace as well.
            yield f"{name} is undone in the ledger, and its probe finds {effect.found}"


def _commits(repository: str, step: str, count: int, good: int) -> Iterable[str]:
    if not step:
        if count:
            yield f"{repository} has {count} commits that name no step of this run"
    elif count != 1:
        yield f"{repository} has {count} commits of {step}"
    elif good == 0:
        yield f"{repository} has a commit of {step} that an undisturbed run does not make"


def _attempts(left: Left, finished: Mapping[str, int]) -> Iterable[str]:
    for step, number in finished.items():
        if left.attempts.get(step) != number:
            yield f"{step} had Succeeded before, and has run again"
    for key in left.unclosed:
        yield f"attempt {key} stands as if it were under way"


def _missing_or_new(what: str, good: Iterable[str], left: Iterable[str]) -> Iterable[str]:
    wanted, there = {*good}, {*left}
    for name in sorted(wanted - there):
        yield f"{what} {name} is missing"
    for name in sorted(there - wanted):
        yield f"{what} {name} should not be there"
