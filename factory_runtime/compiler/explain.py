"""Says in plain words what JSON Schema found wrong with inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from jsonschema import ValidationError

from factory_runtime.compiler.findings import did_you_mean
from factory_runtime.domain.errors import Problem
from factory_runtime.domain.ids import canonical_json

Path = tuple[str | int, ...]

_MAX_CHOICES = 30


class UnknownNamesError(ValidationError):
    """An object has properties that its schema does not allow.

    Attributes:
        names: of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"{', '.join(shown(name) for name in names[:_MAX_CHOICES])} may not be here"
        )
        self.names = names


def explain(error: ValidationError) -> Iterator[Problem]:
    """The problems that one error of the schema stands for."""
    path = tuple(error.absolute_path)
    schema = cast("Mapping[str, Any]", error.schema)
    described = schema.get("description")
    hint = described if isinstance(described, str) else None
    instance: Any = error.instance
    match error.validator:
        case "required":
            yield from _missing(error, path, schema)
        case _ if isinstance(error, UnknownNamesError):
            yield from _unknown(error, path, schema)
        case "enum":
            choices = cast("Sequence[Any]", error.validator_value)
            names = ", ".join(shown(choice) for choice in choices[:_MAX_CHOICES])
            names += ", …" if len(choices) > _MAX_CHOICES else ""
            yield inputs_problem(
                "bad-input",
                f"{dotted(path)}: {shown(instance)} is not one of {names}",
                _closest(instance, choices) or hint,
            )
        case "type":
            wanted = _kinds(error.validator_value)
            message = f"{dotted(path)}: {shown(instance)} is {_kind(instance)}, not {wanted}"
            yield inputs_problem("bad-input", message, hint)
        case _:
            message = error.message
            message = message if len(message) <= 200 else f"{message[:199]}…"
            yield inputs_problem("bad-input", f"{dotted(path)}: {message}", hint)


def _missing(error: ValidationError, path: Path, schema: Mapping[str, Any]) -> Iterator[Problem]:
    # One error per name, and only the message says which.
    name = error.message.removesuffix(" is a required property")[1:-1]
    inner: Any = schema.get("properties", {}).get(name)
    hint = inner.get("description") if isinstance(inner, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - a schema
    yield inputs_problem("missing-input", f"{dotted((*path, name))} is missing", cast("Any", hint))


def _unknown(error: UnknownNamesError, path: Path, schema: Mapping[str, Any]) -> Iterator[Problem]:
    known = cast("Mapping[str, Any]", schema.get("properties", {}))
    for name in error.names:
        message = f"{dotted((*path, name))} is not an input of this template"
        yield inputs_problem("unknown-input", message, did_you_mean(name, known))


def _closest(value: Any, choices: Sequence[Any]) -> str | None:
    texts = [choice for choice in choices if isinstance(choice, str)]
    hint = did_you_mean(value, texts) if isinstance(value, str) and texts else ""
    return hint if hint.startswith("did you mean") else None


def inputs_problem(code: str, message: str, hint: str | None = None) -> Problem:
    """A problem of the inputs, which have no lines."""
    return Problem("inputs", 0, 0, code, message, hint)


def dotted(path: Sequence[str | int]) -> str:
    """A path as people write it: ``entities[0].name``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")[:200] or "inputs"


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value) if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def _kinds(types: Any) -> str:
    names = [types] if isinstance(types, str) else list(types)
    return " or ".join(_KINDS.get(name, str(name)) for name in names)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"
