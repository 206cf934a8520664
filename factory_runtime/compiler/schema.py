"""JSON Schema of inputs: checked, closed, and applied with defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, cast

from factory_runtime.compiler.explain import dotted, explain, inputs_problem
from factory_runtime.compiler.validation import validator_for
from factory_runtime.compiler.work import EndlessError, Work, one_work
from factory_runtime.domain.errors import Problem
from factory_runtime.domain.json_values import find_bad_value

Path = tuple[str | int, ...]

_MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_ONES = (
    "items",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
)
_MAX_DEPTH = 64
MAX_PROBLEMS = 100


def subschemas(schema: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every schema that is a mapping, this one first, with where it stands."""
    if not isinstance(schema, dict):
        return
    here = cast("dict[str, Any]", schema)
    yield path, here
    for inner_path, inner in _inside(here):
        yield from subschemas(inner, (*path, *inner_path))


def parts_of(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas right inside a schema."""
    return (inner for _, inner in _inside(schema))


def _inside(schema: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for key in _MAPS:
        if isinstance(schema.get(key), dict):
            for name, inner in schema[key].items():
                yield (key, name), inner
    for key in _LISTS:
        if isinstance(schema.get(key), list):
            for number, inner in enumerate(schema[key]):
                yield (key, number), inner
    for key in _ONES:
        if key in schema:
            yield (key,), schema[key]


def close_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with every object closed that declares properties and does not say otherwise.

    Where properties come together by ``allOf``, ``if`` or a reference beside them, it is the
    whole that is closed (``unevaluatedProperties``), not its parts.
    """
    return _closed(schema, close_this=True)


_JOINS = ("allOf", "anyOf", "oneOf", "if", "then", "else", "$ref", "dependentSchemas")
_PARTS = frozenset({"allOf", "if", "then", "else", "not", "dependentSchemas"})


def _closed(schema: Any, *, close_this: bool) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = dict(cast("Mapping[str, Any]", schema))
    has_properties = isinstance(made.get("properties"), Mapping)
    for key in (*_MAPS, *_LISTS, *_ONES):
        inner = made.get(key)
        # An alternative stands for itself, unless it only adds to properties declared beside it.
        is_part = key in _PARTS or (key in {"anyOf", "oneOf"} and has_properties)
        if isinstance(inner, Mapping) and key in _MAPS:
            members = cast("Mapping[str, Any]", inner)
            made[key] = {n: _closed(s, close_this=not is_part) for n, s in members.items()}
        elif isinstance(inner, list):
            items = cast("list[Any]", inner)
            made[key] = [_closed(s, close_this=not is_part) for s in items]
        elif isinstance(inner, Mapping):
            made[key] = _closed(inner, close_this=not is_part)
    says = {"additionalProperties", "unevaluatedProperties"} & made.keys()
    if close_this and has_properties and not says:
        joins = any(key in made for key in _JOINS)
        made["unevaluatedProperties" if joins else "additionalProperties"] = False
    return made


def local_target(schema: Mapping[str, Any], reference: str) -> Any:
    """What a ``#/…`` reference names; None where there is nothing."""
    here: Any = schema
    if not reference.startswith("#"):
        return None
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(here, Mapping):
            here = cast("Mapping[str, Any]", here).get(key)
        elif isinstance(here, list) and key.isdecimal() and len(key) < 8:
            items = cast("list[Any]", here)
            here = items[int(key)] if int(key) < len(items) else None
        else:
            return None
    return here


def normalise_inputs(
    schema: Mapping[str, Any], inputs: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """Fill in defaults, then check.

    Args:
        schema: a template's ``inputs_schema``.
        inputs: what the caller gave.

    Returns:
        The inputs with defaults, nested ones too, and every problem, up to ``MAX_PROBLEMS``: file
        ``inputs``, no line, codes ``missing-input``, ``unknown-input`` and ``bad-input``.
    """
    if bad := find_bad_value(inputs):
        path, why = bad
        return dict(inputs), [inputs_problem("bad-input", f"{dotted(path)}: {why}")]
    try:
        with one_work() as work:
            filled = _Defaults(schema, work).fill(schema, inputs, 0)
            errors = validator_for(schema).iter_errors(filled)
    except EndlessError:
        message = "the template asks too much of inputs as large as these"
        return dict(inputs), [inputs_problem("bad-input", message, "give less")]
    except RecursionError:
        return dict(inputs), [inputs_problem("bad-input", "the inputs are nested without end")]
    found = chain.from_iterable(explain(error) for error in errors)
    problems = set(islice(found, MAX_PROBLEMS))
    return filled, sorted(problems, key=lambda p: (p.message, p.code))


class _Defaults:
    """Fills in defaults below objects and lists that are there."""

    def __init__(self, root: Mapping[str, Any], work: Work) -> None:
        self._root = root
        self._work = work

    def fill(self, schema: Any, value: Any, depth: int) -> Any:
        """The value with the defaults of the schema in it.

        Raises:
            RecursionError: defaults inside defaults do not come to an end.
            EndlessError: there is too much to look at.
        """
        if depth > _MAX_DEPTH:
            raise RecursionError
        if not isinstance(value, (Mapping, list)):
            return value
        for part in self._parts(schema):
            if isinstance(value, Mapping):
                value = self._fill_object(part, cast("Mapping[str, Any]", value), depth)
            elif isinstance(value, list) and isinstance(part.get("items"), Mapping):
                items = cast("list[Any]", value)
                value = [self.fill(part["items"], item, depth + 1) for item in items]
        return cast("Any", value)

    def _fill_object(
        self, schema: Mapping[str, Any], value: Mapping[str, Any], depth: int
    ) -> dict[str, Any]:
        self._work.charge(1 + len(value) // 8)
        filled = dict(value)
        properties = cast("Mapping[str, Any]", schema.get("properties") or {})
        for name, inner in properties.items():
            if name not in filled:
                given = [p["default"] for p in self._parts(inner) if "default" in p]
                if not given:
                    continue
                filled[name] = given[0]
            filled[name] = self.fill(inner, filled[name], depth + 1)
        return filled

    def _parts(self, schema: Any) -> list[Mapping[str, Any]]:
        """The schema with what it refers to and ``allOf`` joins, itself first."""
        parts: list[Mapping[str, Any]] = []
        waiting = [schema]
        while waiting and len(parts) < _MAX_DEPTH:
            self._work.charge(1 + len(waiting) // 8)
            here = waiting.pop(0)
            if not isinstance(here, Mapping):
                continue
            part = cast("Mapping[str, Any]", here)
            parts.append(part)
            if isinstance(part.get("$ref"), str):
                waiting.append(local_target(self._root, part["$ref"]))
            waiting.extend(part.get("allOf", ()))
        return parts
