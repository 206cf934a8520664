"""A combination of template, inputs and layers that keeps succeeding: a fold over observations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, cast

from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.memory import Observation
from factory_runtime.domain.memory_text import one_line
from factory_runtime.domain.redaction import is_secret_key

ENOUGH = 3
"""Successes: fewer are no pattern."""

RATE = 0.8
"""The share of runs that succeed, at least."""

_SMALL_NUMBER = 1000
_TELLING = 24
_LAYERS = 64
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Combination:
    """What runs have in common.

    Attributes:
        telling: inputs that make another thing of what is made: choices, switches, small numbers,
            and whether a list has anything in it. Never names or free text.
        layers: the template's steps that ran, in order.
    """

    tenant_id: str
    template_id: str
    telling: Mapping[str, Any]
    layers: tuple[str, ...]

    @property
    def id(self) -> str:
        """Of the memory of it, and of what is observed of it."""
        parts = [self.tenant_id, self.template_id, dict(self.telling), list(self.layers)]
        return f"mem-{digest_of(['success', *parts])[:32]}"


@dataclass(frozen=True, slots=True)
class SuccessPattern:
    """A combination, as far as it was seen.

    Attributes:
        count: runs of it, each by its last cycle.
        seconds: that those that succeeded took, on the average; None where none says.
    """

    combination: Combination
    title: str
    count: int
    succeeded: int
    first_at: datetime
    last_at: datetime
    versions: tuple[str, ...]
    projects: tuple[str, ...]
    seconds: float | None = None

    @property
    def rate(self) -> float:
        """The share that succeeded, 0 to 1."""
        return self.succeeded / self.count

    @property
    def holds(self) -> bool:
        """Whether it is one to follow."""
        return self.succeeded >= ENOUGH and self.rate >= RATE


def telling_inputs(clean: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Of inputs without secrets, those that a combination is made of, in the order of their names.

    ``schema`` is the template's of its inputs; None where the template is gone: then no text is
    known to be a choice.
    """
    declared = _mapping((schema or {}).get("properties"))
    found: dict[str, Any] = {}
    for name in sorted(clean):
        if is_secret_key(name):
            continue
        choices = _mapping(declared.get(name)).get("enum")
        value = _telling(clean[name], cast("list[Any]", choices) if _is_list(choices) else ())
        if value is not None:
            found[one_line(name, 60)] = value
    return dict(islice(found.items(), _TELLING))


def fold_success(observations: Iterable[Observation]) -> SuccessPattern | None:
    """The pattern of one combination; None where no run is left of it."""
    by_run: dict[str, Observation] = {}
    for one in sorted(observations, key=lambda one: one.cycle):
        by_run[one.run_id] = one
    seen = sorted(by_run.values(), key=lambda one: (one.at, one.run_id))
    if not seen:
        return None
    last = seen[-1]
    good = [one for one in seen if one.worked]
    times = [float(one.facts["seconds"]) for one in good if one.facts.get("seconds") is not None]
    return SuccessPattern(
        combination=Combination(
            last.tenant_id,
            str(last.facts["template"]),
            _mapping(last.facts["telling"]),
            tuple(map(str, last.facts["layers"])),
        ),
        title=str(last.facts["title"]),
        count=len(seen),
        succeeded=len(good),
        first_at=seen[0].at,
        last_at=last.at,
        versions=_most_often(str(one.facts["version"]) for one in seen),
        projects=_most_often(one.project_id or "" for one in seen),
        seconds=sum(times) / len(times) if times else None,
    )


def layers_of(steps: Iterable[str]) -> tuple[str, ...]:
    """Each step once, in order; of a great many, the first."""
    return tuple(islice(dict.fromkeys(steps), _LAYERS))


def _telling(value: Any, choices: Collection[Any]) -> Any:
    match value:
        case bool():
            return value
        case int() | float() if abs(value) <= _SMALL_NUMBER:
            return value
        case str() if value in choices:
            return one_line(value, 60)
        case list():
            return "some" if value else "none"
        case _:
            return None


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _most_often(values: Iterable[str]) -> tuple[str, ...]:
    counted = Counter(value for value in values if value)
    ordered = sorted(counted, key=lambda value: (-counted[value], value))
    return tuple(ordered[:_NAMED])
