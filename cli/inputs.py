"""Inputs as people type them: ``--set name=value`` and files of YAML or JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from factory_runtime.domain.errors import InputError, InvalidInputsError, Problem

_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


def gather_inputs(
    settings: Sequence[str],
    file: str | None,
    schema: Mapping[str, Any],
    base: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The inputs that the options give; what is set wins over what the file says.

    Args:
        settings: texts like ``name=value`` or ``name.inner=value``.
        file: a path to YAML or JSON, ``-`` for standard input, or None.
        schema: the template's, so that ``123`` stays text where text is asked for.
        base: inputs that are there already; what is set within one of them changes it.

    Raises:
        InputError: an option is no ``name=value``, or a value or the file cannot be read.
    """
    inputs = {**base, **(read_inputs(file) if file is not None else {})}
    given: dict[tuple[str, ...], Any] = {}
    for path, text in (_split(setting, schema) for setting in settings):
        inner = _schema_at(schema, path)
        value = parse_value(text, inner, ".".join(path))
        if path not in given:
            given[path] = value
        elif isinstance(value, list) and "array" in _types(inner):
            given[path] = [*given[path], *cast(list[Any], value)]
        else:
            raise InputError(f"{'.'.join(path)} is set twice", hint="give it one value")
    for path, value in given.items():
        _put(inputs, path, value)
    return inputs


def read_inputs(file: str) -> dict[str, Any]:
    """A mapping from a file of YAML or JSON.

    Raises:
        InputError: it is not there, or is not a mapping; all problems are named.
    """
    # Imported here: it needs PyYAML, and most runs are asked for with --set alone.
    from factory_runtime.compiler.yaml_nodes import read_yaml

    try:
        body = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as exc:
        raise InputError(
            f"the inputs in {file} cannot be read: {exc.strerror}", hint="look at the path"
        ) from exc
    node, problems = read_yaml(body, file)
    if problems:
        raise InvalidInputsError(f"the inputs in {file} cannot be read", problems)
    if node is None or node.members is None:
        problem = Problem(file, 1, 1, "inputs", "this is no mapping of names to values")
        raise InvalidInputsError(f"the inputs in {file} cannot be used", [problem])
    return node.plain()


def parse_value(text: str, schema: Mapping[str, Any], name: str) -> Any:
    """The value that a text means where this schema is asked for.

    What does not fit is kept as text: the schema says best what is wrong with it.

    Raises:
        InputError: it begins like JSON and is none.
    """
    types = _types(schema)
    if "string" in types:
        return text
    if "boolean" in types and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if "integer" in types and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        return int(text) if _INTEGER.fullmatch(text) else float(text)
    if "null" in types and text == "null":
        return None
    if "array" in types and not text.startswith("["):
        items = _mapping(schema.get("items"))
        return [parse_value(item.strip(), items, name) for item in text.split(",") if item.strip()]
    if text[:1] in "[{" and (not types or {"array", "object"} & types):
        return _json(text, name)
    return text if types else _guess(text)


def _guess(text: str) -> Any:
    """A value for an input that the schema says nothing about."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json(text: str, name: str) -> Any:
    if not text:
        return text
    try:
        return json.loads(text)
    except RecursionError as exc:
        raise InputError(f"{name} is nested too deeply", hint="use --inputs FILE") from exc
    except ValueError as exc:
        raise InputError(
            f"{name} is not JSON: {exc}", hint='write it like ["a", "b"] or {"a": 1}, quoted'
        ) from exc


def _split(setting: str, schema: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    name, sign, text = setting.partition("=")
    if not sign or not name.strip("."):
        raise InputError(f"--set {setting}: there is no value", hint="write --set name=value")
    if name in _mapping(schema.get("properties")):
        return (name,), text  # a name with a dot of its own
    return tuple(name.split(".")), text


def _schema_at(schema: Mapping[str, Any], path: Iterable[str]) -> Mapping[str, Any]:
    for part in path:
        schema = _mapping(_mapping(schema.get("properties")).get(part))
    return schema


def _put(inputs: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        inner = inputs.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"{'.'.join(path)} is set, but {part} has a value of its own")
        inputs = cast(dict[str, Any], inner)
    inputs[path[-1]] = value


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    """The types that a schema names; empty where it names none."""
    named = schema.get("type")
    if isinstance(named, str):
        return frozenset({named})
    if isinstance(named, list):
        return frozenset(str(name) for name in cast(list[Any], named))
    choices = schema.get("enum")
    if isinstance(choices, list) and all(isinstance(c, str) for c in cast(list[Any], choices)):
        return frozenset({"string"})
    alternatives: list[Any] = schema.get("anyOf") or schema.get("oneOf") or []
    return frozenset[str]().union(*(_types(_mapping(one)) for one in alternatives))


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}
