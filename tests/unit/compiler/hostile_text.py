"""What a hostile tenant writes, one case after the other: a line of JSON for each that ends.

In a process of its own, because what goes wrong here does not end, and no thread can stop it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from factory_runtime.compiler import work
from factory_runtime.compiler.expressions import evaluate
from factory_runtime.compiler.load import check_template, load_template
from factory_runtime.compiler.plan import compile_plan
from factory_runtime.compiler.policy_file import load_policy
from factory_runtime.compiler.schema import close_schema, normalise_inputs
from factory_runtime.domain.errors import ExpressionError, InvalidInputsError
from factory_runtime.services.policy_check import PolicyFacts, refusals
from tests.authoring import JOB_TYPES

Case = Callable[[], list[str]]

ENDLESS = "^(a+)+$"
TEXT = "a" * 40 + "!"
NUMBERS = list(range(100_000))
STEPS: list[Any] = [{"name": "a", "type": "note", "with": {"text": "a"}}]


def inputs(schema: Mapping[str, Any], given: Mapping[str, Any]) -> Case:
    return lambda: [
        str(problem)
        for problem in normalise_inputs(close_schema({"type": "object", **schema}), given)[1]
    ]


def checked(text: str) -> list[str]:
    with TemporaryDirectory() as folder:
        Path(folder, "template.yaml").write_text(text)
        return [str(p).split("template.yaml:")[1] for p in check_template(Path(folder), JOB_TYPES)]


def template(**keys: Any) -> str:
    return json.dumps({"id": "demo", "version": "1.0.0", "steps": STEPS, **keys})


def schema(**keys: Any) -> Case:
    return lambda: checked(template(inputs={"type": "object", **keys}))


def expression(text: str, **given: Any) -> Case:
    def case() -> list[str]:
        try:
            return [str(evaluate(f"${{{{ {text} }}}}", {"inputs": given}))[:200]]
        except ExpressionError as error:
            return [str(error)]

    return case


def by_a_policy() -> list[str]:
    body = json.dumps({"inputs": {"*": {"properties": {"x": {"not": {"pattern": ENDLESS}}}}}})
    policy = load_policy(body.encode(), "policy.yaml", "tenant")
    facts = PolicyFacts("demo", "1.0.0", {"x": TEXT})
    return [str(problem) for problem in refusals([policy], facts).problems]


def conditions_of_steps() -> list[str]:
    when = "${{ inputs.x|sort|first == 0 }}"
    steps = [{**STEPS[0], "name": f"a{number}", "when": when} for number in range(200)]
    with TemporaryDirectory() as folder:
        properties = {"x": {"type": "array"}}
        text = template(inputs={"type": "object", "properties": properties}, steps=steps)
        Path(folder, "template.yaml").write_text(text)
        read = load_template(Path(folder), JOB_TYPES)
        try:
            compile_plan(read, {"x": NUMBERS[:5000]}, JOB_TYPES)
        except InvalidInputsError as error:
            return [str(problem) for problem in error.problems]
    return []


def chain(length: int, link: Callable[[str], Any]) -> dict[str, Any]:
    """Definitions that refer to the next one each."""
    made = {f"d{n}": link(f"#/$defs/d{n + 1}") for n in range(length)}
    return {**made, f"d{length}": {"type": "string"}}


def deep(levels: int) -> Any:
    return {"x": deep(levels - 1)} if levels else 1


_DOUBLED = {"oneOf": [{"properties": {"x": {"$ref": "#/$defs/d"}}}] * 2}
_DEFAULTED = {"allOf": [{"properties": {"x": {"$ref": "#/$defs/d"}}}] * 8}
_X = {"properties": {"x": {"$ref": "#/$defs/d"}}}
_LIST = {"type": "array", "uniqueItems": True}

CASES: Mapping[str, Case] = {
    "a pattern that goes back": inputs({"properties": {"x": {"pattern": ENDLESS}}}, {"x": TEXT}),
    "a pattern of names": inputs({"patternProperties": {ENDLESS: {}}}, {TEXT: 1}),
    "a pattern of closed names": inputs(
        {"patternProperties": {ENDLESS: {}}, "additionalProperties": False}, {TEXT: 1}
    ),
    "a pattern of the names left over": inputs(
        {"patternProperties": {ENDLESS: {}}, "unevaluatedProperties": False}, {TEXT: 1}
    ),
    "a pattern of a policy": by_a_policy,
    "a large pattern on large text": inputs(
        {"properties": {"x": {"pattern": "(?:[ab]{0,50}a[ab]{0,50}){20}[^ab]"}}},
        {"x": "ab" * 100_000},
    ),
    "references that double at each level of the inputs": inputs(
        {**_X, "$defs": {"d": _DOUBLED}}, {"x": deep(28)}
    ),
    "defaults by many ways": inputs({**_X, "$defs": {"d": _DEFAULTED}}, {"x": deep(28)}),
    "properties left over by many ways": inputs(
        {
            "unevaluatedProperties": False,
            "$ref": "#/$defs/d0",
            "$defs": chain(
                30,
                lambda next_: {"dependentSchemas": {"a": {"$ref": next_}} | {"b": {"$ref": next_}}},
            ),
        },
        {"a": "", "b": "", "c": ""},
    ),
    "alternatives over a large value": inputs(
        {"properties": {"x": {"anyOf": [False] * 4000}}}, {"x": NUMBERS}
    ),
    "items left over of many": inputs(
        {"properties": {"x": {"contains": {}, "unevaluatedItems": False}}}, {"x": NUMBERS}
    ),
    "names left over with marks": inputs(
        {"allOf": [{"properties": {"a": {}}}], "properties": {"b": {}}},
        {f"a'{'b' * 40}{number}": 1 for number in range(4000)},
    ),
    "a list looked through often": inputs(
        {"properties": {"x": {"allOf": [{"items": {"type": "integer"}}] * 100}}},
        {"x": NUMBERS[:20_000]},
    ),
    "unique mappings": inputs(
        {"properties": {"x": _LIST}}, {"x": [{"a": number} for number in range(10_000)]}
    ),
    "unknown names": inputs(
        {"properties": {f"name_{number}": {} for number in range(2000)}},
        {f"nam_{number}": 1 for number in range(5000)},
    ),
    "a schema that doubles": schema(
        **{"$defs": chain(40, lambda next_: {"allOf": [{"$ref": next_}, {"$ref": next_}]})}
    ),
    "a long chain": schema(**{"$defs": chain(2000, lambda next_: {"$ref": next_})}),
    "a deep chain": schema(**{"$defs": chain(2000, lambda next_: {"items": {"$ref": next_}})}),
    "a large constant": schema(properties={"x": {"const": NUMBERS}}),
    "many unknown keywords": schema(**{f"zz-{number}": 1 for number in range(2000)}),
    "many large patterns": schema(
        properties={f"p{n}": {"pattern": f"^[a-z]{{{n + 500}}}$"} for n in range(1000)}
    ),
    "many bad patterns": schema(
        properties={f"p{n}": {"pattern": f"((a{{0,99}}){{99}}){{99}}{n}"} for n in range(1000)}
    ),
    "aliases of aliases": lambda: checked(
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    ),
    "keys that stand there often": lambda: checked("a: 1\n" * 100_000),
    "many expressions in one text": lambda: checked(
        template(outputs={"a": "${{ run.id }}" * 100_000})
    ),
    "each in a list": expression("inputs.x|select('in', inputs.x)|length", x=NUMBERS),
    "large text sorted often": expression(
        "(" + "+".join(["inputs.x"] * 30) + ")|sort|first", x=["a" * 100_000] * 100
    ),
    "a long path on many items": expression(
        f"inputs.x|map(attribute='{'.'.join('0' * 1900)}')|length", x=["a"] * 10_000
    ),
    "large values compared often": expression(
        " or ".join(["inputs.x != inputs.y"] * 30), x=NUMBERS, y=NUMBERS.copy()
    ),
    "conditions of many steps": conditions_of_steps,
}


if __name__ == "__main__":
    # A tenth of what is granted: what does not end still does not.
    work.MAX_STEPS //= 10
    work.MAX_MATCHING //= 10
    for name, case in CASES.items():
        sys.stdout.write(json.dumps([name, case()]) + "\n")
        sys.stdout.flush()
