"""Checks values by a tenant's JSON Schema, in a bounded number of steps.

A few lines of schema can ask for any amount of work: references that double at each level, lists
of alternatives over large values, every error with the value in its message. So each keyword that
leads to others, or looks through a value, pays for it (``compiler/work.py``), and what takes too
much is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType] - untyped
from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs] - none

from factory_runtime.compiler.explain import UnknownNamesError, shown
from factory_runtime.compiler.patterns import PatternError, read_pattern
from factory_runtime.compiler.work import one_work, work_at_hand
from factory_runtime.domain.ids import canonical_json

MAX_ERRORS = 100

Keyword = Callable[[Any, Any, Any, Mapping[str, Any]], Iterable[ValidationError] | None]
_DRAFT = cast("Any", Draft202012Validator)
_EACH_OF = frozenset({"allOf", "anyOf", "oneOf", "dependentSchemas", "patternProperties"})
_OF_ITEMS = frozenset({"items", "contains", "uniqueItems", "propertyNames", "properties"}) | {
    "additionalProperties",
    "unevaluatedProperties",
}
_WHOLE = frozenset({"const", "enum", "not"})
# What is done once for a value: who led here has paid.
_FREE = frozenset(
    [
        "type",
        "pattern",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    ]
)
_OF_REFERENCE = 5  # steps of finding what a reference names


@dataclass(frozen=True, slots=True)
class BoundedValidator:
    """Checks values by one schema. Threads may share it."""

    _validator: Any

    def iter_errors(self, value: Any) -> Iterator[ValidationError]:
        """The first ``MAX_ERRORS`` errors.

        Raises:
            EndlessError: finding them takes too much.
        """
        with one_work():
            errors = cast("Iterator[ValidationError]", self._validator.iter_errors(value))
            return iter(list(islice(errors, MAX_ERRORS)))

    def of_part(self, schema: Any) -> BoundedValidator:
        """The validator of a schema inside this one."""
        return BoundedValidator(self._validator.evolve(schema=schema))


class SameSchema:
    """A schema that can be a key of a cache: the same object is the same schema."""

    __slots__ = ("schema",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameSchema) and other.schema is self.schema


def validator_for(schema: Mapping[str, Any]) -> BoundedValidator:
    """A validator that never fetches anything, kept for as long as the same object is asked for."""
    return _validator_for(SameSchema(schema))


@lru_cache(maxsize=256)
def _validator_for(key: SameSchema) -> BoundedValidator:
    return BoundedValidator(_Validator(key.schema, registry=cast("Any", REGISTRY)))


def _matches(pattern: str, text: str) -> bool:
    """Whether the pattern is in the text, paid for.

    Raises:
        PatternError: it cannot be used, or not on this text.
    """
    work = work_at_hand()
    if (found := work.patterns.get(pattern)) is None:
        found = work.patterns[pattern] = read_pattern(pattern)
        # Whether or not another has read it before: what is refused once is refused always.
        work.charge_match(found.steps_of_reading)
    work.charge_match(found.steps(text))
    return found.matches(text)


def _pattern(
    validator: Validator, pattern: str, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    try:
        if not _matches(pattern, instance):
            yield ValidationError(f"{shown(instance)} does not match {pattern}")
    except PatternError as error:
        yield ValidationError(f"{shown(pattern)} {error}")


def _pattern_properties(
    validator: Any, value: Mapping[str, Any], instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    properties = cast("dict[str, Any]", instance)
    for pattern, inner in value.items():
        try:
            names = [name for name in properties if _matches(pattern, name)]
        except PatternError as error:
            yield ValidationError(f"{shown(pattern)} {error}")
            continue
        for name in names:
            yield from validator.descend(properties[name], inner, path=name, schema_path=pattern)


def _matched(schema: Mapping[str, Any], instance: Mapping[str, Any]) -> set[str]:
    """The properties that ``patternProperties`` names; it tells itself of what cannot be used."""
    found: set[str] = set()
    for pattern in schema.get("patternProperties", ()):
        try:
            found.update(name for name in instance if _matches(pattern, name))
        except PatternError:
            continue
    return found


def _additional_properties(
    validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    properties = cast("dict[str, Any]", instance)
    named, matched = schema.get("properties", {}), _matched(schema, properties)
    others = [name for name in properties if name not in named and name not in matched]
    if value is not False:
        for name in others:
            yield from validator.descend(properties[name], value, path=name)
    elif others:
        yield UnknownNamesError(others)


def _unevaluated_properties(
    validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    properties = cast("dict[str, Any]", instance)
    seen = _evaluated(validator, properties, schema)
    if others := [name for name in properties if name not in seen]:
        yield UnknownNamesError(others)


def _evaluated(validator: Any, instance: dict[str, Any], schema: Any) -> set[str]:
    """The properties that a schema, or one joined to it that the instance fits, speaks of."""
    work = work_at_hand()
    work.charge(_OF_REFERENCE + work.size_of(instance) // 8)
    if not isinstance(schema, Mapping):
        return set()
    here = cast("Mapping[str, Any]", schema)
    seen = _matched(here, instance) | (here.get("properties", {}).keys() & instance.keys())
    for key in ("additionalProperties", "unevaluatedProperties"):
        if key in here:
            seen.update(n for n, each in instance.items() if _fits(validator, each, here[key]))
    for inner_validator, inner in _joined(validator, instance, here):
        seen |= _evaluated(inner_validator, instance, inner)
    return seen


def _joined(
    validator: Any, instance: dict[str, Any], schema: Mapping[str, Any]
) -> Iterator[tuple[Any, Any]]:
    """The schemas that a schema joins to itself for this instance, each with its validator."""
    if "$ref" in schema:
        # As the library's own keyword finds it; there is no public way from inside a keyword.
        found = validator._resolver.lookup(schema["$ref"])
        yield validator.evolve(schema=found.contents, _resolver=found.resolver), found.contents
    for name, inner in schema.get("dependentSchemas", {}).items():
        if name in instance:
            yield validator, inner
    for key in ("allOf", "anyOf", "oneOf"):
        for inner in schema.get(key, ()):
            if _fits(validator, instance, inner):
                yield validator, inner
    if "if" in schema:
        holds = _fits(validator, instance, schema["if"])
        if holds:
            yield validator, schema["if"]
        yield validator, schema.get("then" if holds else "else", True)


def _fits(validator: Any, instance: Any, schema: Any) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _unique_items(
    validator: Validator, value: bool, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not value or not isinstance(instance, list):
        return
    seen: set[str] = set()
    for item in cast("list[Any]", instance):
        # As text, in which 1 is no true: comparing each with each takes the square of their number.
        text = canonical_json(_spelled(item))
        if text in seen:
            yield ValidationError(f"{shown(item)} is there twice")
            return
        seen.add(text)


def _spelled(value: Any) -> Any:
    """The value with 1.0 as 1, which JSON Schema holds for the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_spelled(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in cast("dict[str, Any]", value).items()}
    return value


def _paid(name: str, keyword: Keyword) -> Keyword:
    """The keyword, paid for by the size of what it looks at and may put into a message."""
    base = _OF_REFERENCE if name == "$ref" else 1
    each, whole, of_items = name in _EACH_OF, name in _WHOLE, name in _OF_ITEMS

    def check(
        validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]
    ) -> Iterable[ValidationError] | None:
        work = work_at_hand()
        size = work.size_of(instance)
        steps = base + size // 8
        if isinstance(instance, (dict, list)):
            items = len(cast("list[Any]", instance))
            if of_items:
                steps += items
            elif name == "unevaluatedItems":
                steps += items * items // 200  # the library looks for each in a list
        if isinstance(value, (dict, list)):
            count = len(cast("list[Any]", value))
            steps += count * (8 + size) // 8 if each else count // 8
            steps += work.size_of(value) // 8 if whole else 0
        work.charge(steps)
        return keyword(validator, value, instance, schema)

    return check


_KEYWORDS: Mapping[str, Keyword] = {
    **_DRAFT.VALIDATORS,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "unevaluatedProperties": _unevaluated_properties,
    "uniqueItems": _unique_items,
}
_Validator = cast("Any", extend)(
    Draft202012Validator,
    {n: keyword if n in _FREE else _paid(n, keyword) for n, keyword in _KEYWORDS.items()},
)
