"""What was so when a step failed or succeeded, small and without secrets: to be compared later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from math import isfinite
from typing import Any, cast

from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.memory_text import one_line
from factory_runtime.domain.redaction import REDACTED

VALUE = 60
"""Characters of a text that is small enough to be told."""

_NAME = 80
_MOST = 64
_LIST = 200
_DEEPEST = 4
_LARGEST = 10**15
_MARK = 8
"""Hex digits of the digest of what is too large to be kept: whether it changed is all they tell."""

LARGE = "large:"
"""Begins what is kept of a value that is not small."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What was so. Inputs are flat: ``database.size`` is one.

    Attributes:
        inputs_known: False where nobody can read any more what they were.
        inputs_digest: of all of them, also of those beyond the ones that are kept.
        type_version: of the job type.
        environment: which profile and interpreter.
        machine: where it ran.
        timeout: of the job, in seconds.
        changed: names of the inputs that were changed for this cycle of the run; of those that
            are secrets nothing else tells it.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs_digest: str = ""
    template_version: str = ""
    type_version: str | None = None
    environment: str | None = None
    machine: str | None = None
    timeout: float | None = None
    changed: tuple[str, ...] = ()
    inputs_known: bool = True

    def to_facts(self) -> dict[str, Any]:
        """As JSON."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}

    @classmethod
    def from_facts(cls, facts: Any) -> Circumstances:
        """Of what ``to_facts`` gave; what another release wrote beside it is left out."""
        given: dict[str, Any] = {**facts} if isinstance(facts, Mapping) else {}
        names = {one.name for one in fields(cls)}
        known: dict[str, Any] = {name: given[name] for name in given if name in names}
        known["changed"] = tuple(given.get("changed", ()))
        return cls(**known)


def kept_inputs(clean: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Inputs that are without secrets already, flat and small, and the digest of all of them."""
    flat = dict(islice(_leaves(clean, "", 0), _MOST))
    return flat, digest_of(clean)[:16]


def is_small(value: Any) -> bool:
    """Whether a kept value is the value itself, and no secret."""
    return not isinstance(value, str) or (not value.startswith(LARGE) and REDACTED not in value)


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and depth < _DEEPEST:
        for key, inner in cast("Mapping[str, Any]", value).items():
            name = one_line(str(key), _NAME)
            yield from _leaves(inner, f"{path}.{name}" if path else name, depth + 1)
    elif path:
        yield one_line(path, _NAME), _kept(value)


def _kept(value: Any) -> Any:
    match value:
        case float() if not isfinite(value):
            return str(value)
        case int() if abs(value) > _LARGEST:
            return f"{LARGE}{digest_of(value)[:_MARK]}"
        case None | bool() | int() | float():
            return value
        case str() if len(value) <= VALUE:
            return one_line(value, VALUE)
        case list() if _is_plain(cast("list[Any]", value)):
            return one_line(", ".join(map(str, cast("list[Any]", value))), _LIST)
        case _:
            return f"{LARGE}{digest_of(value)[:_MARK]}"


def _is_plain(items: list[Any]) -> bool:
    """Whether it reads as a short line."""
    simple = all(isinstance(item, str | int | float) for item in items)
    return simple and len(items) <= _MOST and sum(len(str(item)) + 2 for item in items) <= VALUE
