"""A template's inputs as Prefect knows parameters: a signature, and the schema of a form."""

from __future__ import annotations

import inspect
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
    properties: Mapping[str, Any] = inner.get("properties", {})
    form = {
        **{key: value for key, value in inner.items() if key not in ("$defs", "$schema")},
        "title": "Parameters",
        "type": "object",
        "properties": {
            name: {"title": name, **_as_mapping(about), "position": position}
            for position, (name, about) in enumerate(properties.items())
        },
    }
    if definitions := inner.get("$defs"):
        form["definitions"] = definitions
    if "unevaluatedProperties" not in form:
        form.setdefault("additionalProperties", False)
    return form


def _for_people(schema: Any) -> Any:
    """The schema with each pattern told, which a form shows only when it is too late.

    Definitions are where Prefect's forms look for them.
    """
    if not isinstance(schema, Mapping):
        return schema
    made = dict(cast("Mapping[str, Any]", schema))
    for key in _MAPS:
        if isinstance(made.get(key), Mapping):
            members = cast("Mapping[str, Any]", made[key])
            made[key] = {name: _for_people(inner) for name, inner in members.items()}
    for key in _ONES:
        if key in made:
            made[key] = _for_people(made[key])
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(made.get(key), list):
            made[key] = [_for_people(one) for one in cast("list[Any]", made[key])]
    if isinstance(made.get("pattern"), str):
        rule = f"Must match {made['pattern']}"
        said = str(made.get("description", "")).rstrip(". ")
        made["description"] = f"{said}. {rule}" if said else rule
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/$defs/", "#/definitions/", 1)
    return made


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
