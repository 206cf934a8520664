"""Checks a step's ``with`` against its job type, as far as it is known before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from factory_runtime.compiler.explain import dotted, shown
from factory_runtime.compiler.findings import Findings, did_you_mean
from factory_runtime.compiler.schema import close_schema
from factory_runtime.compiler.syntax import has_expression
from factory_runtime.compiler.validation import BoundedValidator, SameSchema, validator_for
from factory_runtime.compiler.work import EndlessError
from factory_runtime.compiler.yaml_nodes import Node
from factory_runtime.domain.template import JobTypeFacts

_UNKNOWN = object()
"""Stands for a value that is known only when the job runs."""


def check_with(node: Node, facts: JobTypeFacts, findings: Findings) -> None:
    """Note unknown and missing keys, and values of the wrong sort where they are literal."""
    validator = _with_validator(SameSchema(facts.with_schema))
    try:
        errors = validator.iter_errors(_known_part(node))
    except EndlessError:
        findings.add(node, "too-large", f"with of {facts.name} is too large to be checked")
        return
    for error in errors:
        if _depends_on_unknown(error.instance, str(error.validator)):
            continue
        path = tuple(error.absolute_path)
        what = f"with of {facts.name}"
        properties = _properties(error.schema)
        if error.validator == "required":
            name = error.message.removesuffix(" is a required property")
            findings.add(node.find(path), "missing-key", f"{what} has no {name}")
        elif error.validator == "additionalProperties" and isinstance(error.instance, dict):
            keys = node.find(path).keys or {}
            for key in keys.keys() - properties.keys():
                hint = did_you_mean(key, properties)
                message = f"{what} has no key {key!r}"
                findings.add(keys[key], "unknown-key", message, hint)
        else:
            text = error.message if len(error.message) < 200 else shown(error.message)
            message = f"{dotted(('with', *path))}: {text}"
            hint = properties.get("description") if not path else None
            findings.add(node.find(path), "bad-value", message, hint)


@lru_cache(maxsize=256)
def _with_validator(key: SameSchema) -> BoundedValidator:
    return validator_for(close_schema(key.schema))


def _properties(schema: Any) -> Mapping[str, Any]:
    return schema.get("properties", {}) if isinstance(schema, Mapping) else {}  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - a schema


def _known_part(node: Node) -> Any:
    if node.members is not None:
        return {key: _known_part(inner) for key, inner in node.members.items()}
    if node.items is not None:
        return [_known_part(inner) for inner in node.items]
    is_expression = isinstance(node.scalar, str) and has_expression(node.scalar)
    return _UNKNOWN if is_expression else node.scalar


def _depends_on_unknown(instance: Any, validator: str) -> bool:
    """Whether the error may go away once the expressions are known."""
    by_shape = {"required", "additionalProperties", "minItems", "maxItems", "type"}
    if validator in by_shape and instance is not _UNKNOWN:
        return False
    waiting = [instance]
    while waiting:
        here = waiting.pop()
        if here is _UNKNOWN:
            return True
        if isinstance(here, dict):
            waiting.extend(here.values())  # pyright: ignore[reportUnknownArgumentType] - JSON
        elif isinstance(here, list):
            waiting.extend(here)  # pyright: ignore[reportUnknownArgumentType] - JSON
    return False
