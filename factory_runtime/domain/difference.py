"""What was otherwise when a step worked, beside when it had failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from factory_runtime.domain.circumstances import Circumstances, is_small
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.memory_text import cut

UNCHANGED = "tried again unchanged"

_UNKNOWN = (None, "")
_TOLD = 4
_WORDS = 240
_LONGEST = 80


class Aspect(StrEnum):
    """Of what something was otherwise."""

    INPUT = "input"
    TEMPLATE_VERSION = "template-version"
    TYPE_VERSION = "type-version"
    TIMEOUT = "timeout"
    ENVIRONMENT = "environment"
    MACHINE = "machine"


class How(StrEnum):
    """In which way."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, order=True)
class Contrast:
    """One thing that was otherwise.

    Attributes:
        name: of the input; of other aspects, empty.
        tells: whether both values are given: they are small and no secret.
    """

    aspect: Aspect
    name: str
    how: How
    tells: bool = False
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        what = self.name or self.aspect.value.replace("-", " ")
        if self.aspect is Aspect.MACHINE:
            return "another machine"
        match self.how:
            case How.ADDED:
                return f"{what} {_say(self.after)} added" if self.tells else f"{what} added"
            case How.REMOVED:
                return f"{what} taken away"
            case How.CHANGED if self.tells:
                return f"{what} {_say(self.before)} → {_say(self.after)}"
            case How.CHANGED:
                return f"{what} changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """All that was otherwise, in one order."""

    changes: tuple[Contrast, ...] = ()

    @property
    def digest(self) -> str:
        """The same for the same changes, of the same values where these are small."""
        return digest_of([list(asdict(change).values()) for change in self.changes])[:32]

    @property
    def words(self) -> str:
        """For people."""
        told = [str(change) for change in self.changes[:_TOLD]]
        more = len(self.changes) - len(told)
        told += [f"{more} more"] if more else []
        return cut("; ".join(told) or UNCHANGED, _WORDS)

    def without_values(self) -> Difference:
        """The same by names alone."""
        bare = (replace(one, tells=False, before=None, after=None) for one in self.changes)
        return Difference(tuple(bare))

    def to_facts(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [asdict(change) for change in self.changes]

    @classmethod
    def from_facts(cls, facts: list[dict[str, Any]]) -> Difference:
        """Of what ``to_facts`` gave."""
        changes: list[Contrast] = []
        for one in facts:
            known: dict[str, Any] = {**one, "aspect": Aspect(one["aspect"]), "how": How(one["how"])}
            changes.append(Contrast(**known))
        return cls(tuple(changes))


def difference(before: Circumstances, after: Circumstances, *, same_run: bool) -> Difference:
    """What was otherwise.

    Args:
        before: when it failed.
        after: when it was tried again.
        same_run: in the next cycle of the same run: then it is known which inputs were changed,
            even where nothing is kept of their values.
    """
    changes = sorted(_inputs(before, after, same_run=same_run), key=lambda one: one.name)
    for aspect, old, new in (
        (Aspect.TEMPLATE_VERSION, before.template_version, after.template_version),
        (Aspect.TYPE_VERSION, before.type_version, after.type_version),
        (Aspect.TIMEOUT, before.timeout, after.timeout),
        (Aspect.ENVIRONMENT, before.environment, after.environment),
    ):
        # What is not known of one of the two is no difference.
        if old != new and old not in _UNKNOWN and new not in _UNKNOWN:
            changes.append(Contrast(aspect, "", How.CHANGED, True, old, new))
    # Most tries happen to be elsewhere: that tells something only where nothing else changed.
    if not changes and before.machine and after.machine and before.machine != after.machine:
        changes.append(Contrast(Aspect.MACHINE, "", How.CHANGED))
    return Difference(tuple(changes))


def _inputs(before: Circumstances, after: Circumstances, *, same_run: bool) -> Iterator[Contrast]:
    old, new, seen = before.inputs, after.inputs, set[str]()
    if not (before.inputs_known and after.inputs_known):
        old = new
    for name in {*old, *new}:
        if name in old and name in new and _same(old[name], new[name]):
            continue
        seen.add(name.partition(".")[0])
        how = How.CHANGED if name in old and name in new else How.ADDED
        how = How.REMOVED if name not in new else how
        values = [side[name] for side in (old, new) if name in side]
        if all(map(is_small, values)):
            yield Contrast(Aspect.INPUT, name, how, True, old.get(name), new.get(name))
        else:
            yield Contrast(Aspect.INPUT, name, how)
    if same_run:
        for name in set(after.changed) - seen:
            yield Contrast(Aspect.INPUT, name, How.CHANGED)


def _same(one: Any, other: Any) -> bool:
    # 1 and True are equal to Python, and two things to a template.
    return type(one) is type(other) and one == other


def _say(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case "":
            return "empty"
        case _:
            return cut(str(value), _LONGEST)
