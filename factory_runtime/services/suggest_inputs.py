"""Inputs for a template, taken from runs of it that were remembered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from factory_runtime.compiler.schema import normalise_inputs
from factory_runtime.domain.memory import Memory
from factory_runtime.domain.memory_text import words_of
from factory_runtime.domain.redaction import REDACTED, is_secret_key, redact
from factory_runtime.domain.template import Template

_USED = re.compile(r"\binputs\.([A-Za-z_][A-Za-z0-9_]*)")
_OF_ONE = frozenset(
    {
        *("name", "slug", "id", "title", "repository", "url", "host", "hostname", "email"),
        *("description", "summary", "purpose"),
    }
)
"""Words in the names of inputs that tell one run from others: names, addresses, and prose."""

_MISSING = "missing-input"


def suggest_inputs(
    template: Template, runs: Sequence[Memory]
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Of each input what the closest run gave that fits the template as it is now.

    Secrets are left out, and names that tell one run from others, and what is the default anyway.

    Args:
        template: what is to be asked for.
        runs: memories of runs of it, the closest first.

    Returns:
        The inputs, the names of required ones that only who asks can say, and the ids of memories
        that were drawn from.
    """
    schema = template.inputs_schema
    properties = _mapping(schema.get("properties"))
    of_one = frozenset(_names_of_one(template, properties))
    chosen: dict[str, Any] = {}
    drawn: dict[str, None] = {}
    for name, part in properties.items():
        if name in of_one or _is_secret(name, _mapping(part)):
            continue
        for memory in runs:
            given = _mapping(memory.facts.get("inputs"))
            if name not in given or _has_secret(name, given[name]):
                continue
            if given[name] == _mapping(part).get("default"):
                break  # the closest run was content with that
            if _fits(schema, {**chosen, name: given[name]}):
                chosen[name] = given[name]
                drawn[memory.id] = None
                break
    filled, _ = normalise_inputs(schema, chosen)
    required = cast("Sequence[str]", schema.get("required") or ())
    return chosen, tuple(name for name in required if name not in filled), tuple(drawn)


def _names_of_one(template: Template, properties: Mapping[str, Any]) -> Iterator[str]:
    """Inputs that are of one run alone; of those that must be said, any text is taken for one."""
    required = cast("Sequence[str]", template.inputs_schema.get("required") or ())
    used = " ".join(str(step.with_.get("repository", "")) for step in template.steps)
    yield from _USED.findall(used)
    for name, part in properties.items():
        schema = _mapping(part)
        is_text = schema.get("type") == "string" and schema.keys().isdisjoint({"enum", "const"})
        must_be_said = name in required and "default" not in schema
        if is_text and (must_be_said or not _OF_ONE.isdisjoint(words_of(name).split())):
            yield name


def _is_secret(name: str, schema: Mapping[str, Any]) -> bool:
    is_hidden = schema.get("writeOnly") is True or schema.get("format") == "password"
    return is_hidden or is_secret_key(name)


def _has_secret(name: str, value: Any) -> bool:
    """What was taken out of a memory left its mark; what is there still is looked through again."""
    return REDACTED in str(value) or redact({name: value}) != {name: value}


def _fits(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
    _, problems = normalise_inputs(schema, inputs)
    return all(problem.code == _MISSING for problem in problems)


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
