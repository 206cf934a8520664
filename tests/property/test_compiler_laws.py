"""Laws of the compiler that hold for every template, every input and every text."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from factory_runtime.compiler.expressions import evaluate
from factory_runtime.compiler.load import load_template
from factory_runtime.compiler.plan import compile_plan, plan_from_json, plan_to_json
from factory_runtime.compiler.schema import normalise_inputs
from factory_runtime.domain.errors import ExpressionError, InvalidInputsError, InvalidTemplateError
from factory_runtime.domain.template import Template
from tests.authoring import JOB_TYPES

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
INPUTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "words": {"type": "array", "items": {"type": "string"}, "default": []},
        "on": {"type": "boolean", "default": True},
        "text": {"type": "string", "default": "x"},
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def load(text: str | bytes) -> Template:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "template.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return load_template(folder, JOB_TYPES)


@st.composite
def template_texts(draw: st.DrawFn) -> str:
    """A template in order: each step needs some of those before it; written in any order."""
    steps: list[dict[str, Any]] = []
    free: list[str] = []
    for number in range(draw(st.integers(1, 8))):
        name = f"step-{number}"
        step: dict[str, Any] = {"name": name, "type": "note"}
        if free:
            step["needs"] = draw(st.lists(st.sampled_from(free), unique=True, max_size=3))
            if step["needs"]:
                read = step["needs"][0].replace("-", "_")
                step["with"] = {"text": f"${{{{ steps.{read}.outputs.x }}}}"}
        if draw(st.booleans()):
            step["each"] = "${{ inputs.words }}"
        if draw(st.booleans()):
            step["when"] = draw(st.sampled_from(["${{ inputs.on }}", "${{ run.id != 'x' }}"]))
        steps.append(step)
        free.append(name)
    fallback = draw(st.none() | st.sampled_from(steps))
    if fallback is not None:
        fallback["on_failure"] = {"fallback": "spare"}
        steps.append({"name": "spare", "type": "note"})
    order = draw(st.permutations(steps))
    return yaml.safe_dump(
        {"id": "demo", "version": "1.0.0", "inputs": INPUTS, "steps": order}, sort_keys=False
    )


WORDS = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True), unique=True, max_size=4)


@QUICK
@given(template_texts(), WORDS, st.booleans())
def test_compiling_twice_gives_the_same_plan_byte_by_byte(text: str, words: list[str], on: bool):
    inputs = {"words": words, "on": on}
    first = plan_to_json(compile_plan(load(text), inputs, JOB_TYPES))
    assert (
        plan_to_json(compile_plan(load(text), dict(reversed(inputs.items())), JOB_TYPES)) == first
    )


@QUICK
@given(template_texts(), WORDS)
def test_every_job_follows_its_needs(text: str, words: list[str]):
    seen: set[str] = set()
    for job in compile_plan(load(text), {"words": words}, JOB_TYPES).jobs:
        assert seen.issuperset(job.needs)
        assert set(job.fallback_for) <= set(job.needs)
        assert job.name not in seen
        seen.add(job.name)


@QUICK
@given(template_texts(), WORDS, st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_plan_is_the_same_after_a_trip_through_json(text: str, words: list[str], free: str):
    plan = compile_plan(load(text), {"words": words, "text": free}, JOB_TYPES)
    assert plan_from_json(plan_to_json(plan)) == plan


@QUICK
@given(st.text(max_size=200) | st.binary(max_size=200) | JSON.map(lambda v: yaml.safe_dump(v)))
@example("id: a\nversion: 1.0.0\nsteps: [{name: a, type: note, with: {text: '${{ 1 }}'}}]")
def test_no_file_does_anything_but_load_or_be_refused(text: str | bytes):
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    with contextlib.suppress(InvalidTemplateError):
        assert load(data).steps


@QUICK
@given(template_texts(), st.data())
def test_a_template_with_any_value_anywhere_loads_or_is_refused(text: str, data: st.DataObject):
    content: Any = yaml.safe_load(text)
    place: Any = data.draw(st.sampled_from([content, content["inputs"], content["steps"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    with contextlib.suppress(InvalidTemplateError):
        assert load(yaml.safe_dump(content, allow_unicode=True)).steps


@QUICK
@given(st.dictionaries(st.sampled_from(["words", "on", "text", "other"]), JSON, max_size=4))
def test_any_inputs_give_a_plan_or_problems(inputs: dict[str, Any]):
    template = load(
        yaml.safe_dump(
            {
                "id": "demo",
                "version": "1.0.0",
                "inputs": INPUTS,
                "steps": [{"name": "a", "type": "note", "each": "${{ inputs.words }}"}],
            }
        )
    )
    try:
        plan = compile_plan(template, inputs, JOB_TYPES)
    except InvalidInputsError:
        return
    assert normalise_inputs(template.inputs_schema, plan.inputs) == (plan.inputs, [])


PIECES = """inputs steps item run event .a .x ['a'] [0] [-1] ( ) [ ] { } , : | . + - * / // % ** ~
== != < in not and or if else is defined none true 'a' "b" 0 1 9 1e9 0x1 upper default
join list map replace sort sum round int tojson items ('a') (1) first . __class__ = {%"""
TOKENS = st.lists(st.sampled_from(PIECES.split()), max_size=12).map(" ".join)
SCOPE: dict[str, Any] = {
    "inputs": {"a": [1, "x", {"a": None}], "x": {"a": 2.5}},
    "steps": {"a": {"outputs": {"x": "y"}}},
    "item": "a",
    "run": {"a": 1},
}


@settings(QUICK, max_examples=400)
@given(TOKENS | st.text(max_size=30))
def test_an_expression_gives_json_or_an_expression_error(text: str):
    try:
        value = evaluate(f"${{{{ {text} }}}}", SCOPE)
    except ExpressionError:
        return
    assert value is None or isinstance(value, str | int | float | list | dict)


@settings(QUICK, max_examples=200)
@given(st.text())
def test_text_without_an_expression_is_itself(text: str):
    assert evaluate(text.replace("${{", ""), SCOPE) == text.replace("${{", "")
    assert evaluate("${{ inputs.a }}", {"inputs": {"a": text}}) == text
