"""A template's inputs as Prefect knows parameters: a signature, and the schema of a form."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Optional, cast

from prefect.utilities.callables import ParameterSchema
from pydantic import WithJsonSchema

_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
    "null": None,
}
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_ONES = ("items", "additionalProperties")
_LISTS = ("anyOf", "oneOf", "allOf")

_NO_LINE_END = r"(?!\n)"
"""Python's ``$`` matches before a last line end: patterns that say so mean no more by it."""

_PUZZLING = re.compile(r"\\|\(\?")
"""In a pattern that its author's own words say better."""


class AnyParameter(inspect.Parameter):
    """A parameter of a flow that may be left out, and have any name that JSON allows."""

    __slots__ = ("_given",)

    def __init__(self, name: str) -> None:
        super().__init__("given", inspect.Parameter.KEYWORD_ONLY, default=None)
        self._given = name

    @property
    def name(self) -> str:
        return self._given


def signature_of(schema: Mapping[str, Any]) -> inspect.Signature:
    """The parameters that a template's inputs are, typed and in their order."""
    required = set(schema.get("required", ()))
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=_annotation(about, name in required),
            default=inspect.Parameter.empty
            if name in required
            else _as_mapping(about).get("default"),
        )
        for name, about in schema.get("properties", {}).items()
    ]
    return inspect.Signature(parameters)


def lenient_signature(schema: Mapping[str, Any], given: Iterable[str]) -> inspect.Signature:
    """A signature that what was given fits, whatever it is.

    Where a parameter is missing or unknown, Prefect would end the process before the flow begins:
    crashed, without a record, and nobody told why.
    """
    names = dict.fromkeys([*schema.get("properties", {}), *given])
    return inspect.Signature([AnyParameter(name) for name in names])


def parameters_of(schema: Mapping[str, Any]) -> ParameterSchema:
    """What Prefect's own deploy makes of a flow, with all that the template says of its inputs."""
    form = form_of(schema)
    return ParameterSchema(
        properties=form["properties"],
        required=form.get("required", []),
        definitions=form.get("definitions", {}),
    )


def form_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter schema of a deployment: closed, in the template's order, for the form.

    Prefect enforces it, and the form shows it; the run's inputs are checked again by the template's
    own schema, which fills in the defaults.
    """
    inner = cast("dict[str, Any]", _for_people(schema))
    properties: Mapping[str, dict[str, Any]] = inner.get("properties", {})
    form = {
        **{key: value for key, value in inner.items() if key not in ("$defs", "$schema")},
        "title": "Parameters",
        "type": "object",
        "properties": {
            name: {**about, "position": position}
            for position, (name, about) in enumerate(properties.items())
        },
    }
    if definitions := inner.get("$defs"):
        form["definitions"] = definitions
    if "unevaluatedProperties" not in form:
        form.setdefault("additionalProperties", False)
    return form


def _for_people(schema: Any) -> Any:
    """The schema with all told that a form shows only when it is too late, or never.

    Definitions are where Prefect's forms look for them.
    """
    if not isinstance(schema, Mapping):
        return schema
    given = cast("Mapping[str, Any]", schema)
    made = {key: _inside(key, value) for key, value in given.items()}
    if isinstance(made.get("properties"), Mapping):
        made["properties"] = _titled(made["properties"])
    if rules := _rules(made):
        said = [str(made["description"]).rstrip(". ")] if made.get("description") else []
        made["description"] = ". ".join([*said, *rules])
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/$defs/", "#/definitions/", 1)
    return made


def _inside(key: str, value: Any) -> Any:
    """What stands at a schema's key, with the schemas that it holds made for people."""
    if key in _MAPS and isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return {name: _for_people(inner) for name, inner in members.items()}
    if key in _LISTS and isinstance(value, list):
        return [_for_people(one) for one in cast("list[Any]", value)]
    return _for_people(value) if key in _ONES else value


def _titled(properties: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each with a title: where there is none, a form shows its type."""
    return {
        name: {"title": _in_words(name), **_as_mapping(about)} for name, about in properties.items()
    }


def _in_words(name: str) -> str:
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:] or name


def _rules(schema: Mapping[str, Any]) -> list[str]:
    """What is asked of a value, and of each item of an array: forms show no item's description."""
    rules = _rule_of(schema, "Must")
    each = _as_mapping(schema.get("items"))
    if "properties" in each:  # these are shown, each with its own
        return rules
    if each.get("description") and not schema.get("description"):
        return [*rules, f"Each: {each['description']}"]
    return [*rules, *_rule_of(each, "Each must")]


def _rule_of(schema: Mapping[str, Any], must: str) -> list[str]:
    pattern = schema.get("pattern")
    if not isinstance(pattern, str):
        return []
    rule = pattern.replace(_NO_LINE_END, "")
    said = bool(schema.get("description"))
    return [] if said and _PUZZLING.search(rule) else [f"{must} match {rule}"]


def _as_mapping(about: Any) -> Mapping[str, Any]:
    """A property's schema; ``true`` allows everything, and says nothing."""
    return cast("Mapping[str, Any]", about) if isinstance(about, Mapping) else {}


def _annotation(about: Any, required: bool) -> Any:
    schema = _as_mapping(about)
    base: Any
    if _is_plain(schema.get("enum")):
        base = Literal[tuple(schema["enum"])]  # pyright: ignore[reportInvalidTypeForm]
    elif schema.get("type") == "array":
        base = list[_type_of(_as_mapping(schema.get("items")))]  # pyright: ignore[reportInvalidTypeForm]
    else:
        base = _type_of(schema)
    if "$ref" not in str(schema):  # which names what only the whole schema has
        base = Annotated[base, WithJsonSchema(dict(_for_people(schema)))]
    if not required and "default" not in schema:
        base = Optional[base]  # noqa: UP045 - `base | None` fails on Literal of values
    return base


def _is_plain(choices: Any) -> bool:
    """Whether Python has literals for all of them."""
    if not isinstance(choices, list):
        return False
    return all(one is None or isinstance(one, str | int) for one in cast("list[Any]", choices))


def _type_of(schema: Mapping[str, Any]) -> Any:
    named = schema.get("type")
    return _TYPES.get(named, Any) if isinstance(named, str) else Any
