from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factory_runtime.compiler.schema import close_schema, normalise_inputs
from tests.authoring import codes, loaded, problems

SCHEMA = close_schema(
    {
        "type": "object",
        "required": ["service_name", "port"],
        "properties": {
            "service_name": {
                "type": "string",
                "pattern": "^[a-z][a-z0-9-]*$",
                "description": "lower case, digits, hyphens",
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "database": {"enum": ["postgres", "none"], "default": "postgres"},
            "options": {"$ref": "#/$defs/options"},
            "owner": {
                "type": "object",
                "properties": {"team": {"type": "string", "default": "core"}},
                "default": {},
            },
            "entities": {
                "type": "array",
                "default": [],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string"},
                        "fields": {"type": "array", "default": []},
                    },
                },
            },
        },
        "$defs": {
            "options": {
                "type": "object",
                "properties": {"size": {"type": "string", "default": "small"}},
            }
        },
    }
)
GOOD = {"service_name": "orders", "port": 80}


def said(inputs: Any) -> list[str]:
    return [str(problem) for problem in normalise_inputs(SCHEMA, inputs)[1]]


def test_defaults_are_filled_in_all_the_way_down():
    given: dict[str, Any] = {**GOOD, "options": {}, "entities": [{"name": "order"}]}
    filled, found = normalise_inputs(SCHEMA, given)
    assert found == []
    assert filled == {
        **GOOD,
        "database": "postgres",
        "options": {"size": "small"},
        "owner": {"team": "core"},
        "entities": [{"name": "order", "fields": []}],
    }
    assert given == {**GOOD, "options": {}, "entities": [{"name": "order"}]}


def test_an_object_that_was_not_given_is_not_made_up():
    assert "options" not in normalise_inputs(SCHEMA, GOOD)[0]


def test_every_problem_comes_at_once_with_its_path_and_the_fix():
    assert said(
        {
            "service_name": "Orders!",
            "databse": "x",
            "database": "postgre",
            "entities": [{"nam": "x"}],
            "options": {"size": 3},
        }
    ) == [
        "inputs: bad-input database: 'postgre' is not one of 'postgres', 'none'"
        " (did you mean 'postgres'?)",
        "inputs: unknown-input databse is not an input of this template (did you mean 'database'?)",
        "inputs: unknown-input entities[0].nam is not an input of this template"
        " (did you mean 'name'?)",
        "inputs: missing-input entities[0].name is missing",
        "inputs: bad-input options.size: 3 is a number, not text",
        "inputs: missing-input port is missing",
        "inputs: bad-input service_name: 'Orders!' does not match ^[a-z][a-z0-9-]*$"
        " (lower case, digits, hyphens)",
    ]


@pytest.mark.parametrize("name", ["orders\n", "\norders", "ordérs", "", "order\u0663s"])
def test_a_pattern_means_the_whole_text_and_ascii(name: str):
    assert len(said({**GOOD, "service_name": name})) == 1


@pytest.mark.parametrize(
    "value",
    ["a\0b", "\ud800", float("nan"), float("inf"), 2**63, {1: 2}, {"a\0": 1}, b"x", {"x"}],
)
def test_what_cannot_be_stored_is_refused_before_anything_else(value: Any):
    (problem,) = said({**GOOD, "owner": value})
    assert "owner" in problem


def test_endless_nesting_is_a_problem_and_not_a_crash():
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    (problem,) = said({**GOOD, "entities": deep})
    assert "nested deeper" in problem


def test_defaults_that_never_end_are_a_problem_and_not_a_crash():
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "left": {"$ref": "#", "default": {}},
            "right": {"$ref": "#", "default": {}},
        },
    }
    assert [p.code for p in normalise_inputs(schema, {})[1]] == ["bad-input"]


def test_objects_are_closed_unless_they_say_otherwise():
    closed = close_schema(
        {
            "type": "object",
            "properties": {
                "open": {"type": "object", "additionalProperties": True, "properties": {}},
                "free": {"type": "object"},
                "shut": {"type": "object", "properties": {"a": {}}},
                "either": {
                    "anyOf": [{"type": "object", "properties": {"a": {}}}, {"type": "null"}]
                },
                "both": {
                    "allOf": [{"properties": {"a": {}}}],
                    "properties": {"b": {}},
                },
            },
        }
    )

    def refused(inputs: Any) -> bool:
        return bool(normalise_inputs(closed, inputs)[1])

    assert refused({"other": 1})
    assert not refused({"open": {"x": 1}, "free": {"x": 1}, "shut": {"a": 1}})
    assert refused({"shut": {"x": 1}})
    assert refused({"either": {"x": 1}})
    assert not refused({"either": None})
    assert not refused({"both": {"a": 1, "b": 2}})
    assert refused({"both": {"c": 1}})


def test_only_what_no_pattern_names_is_unknown():
    schema: dict[str, Any] = {"patternProperties": {"^x_": {}}, "additionalProperties": False}
    (problem,) = normalise_inputs(schema, {"x_a": 1, "y": 1})[1]
    assert problem.message == "y is not an input of this template"


@pytest.mark.parametrize("inputs", ["", "inputs: {}", "inputs: {type: object}"])
def test_a_template_that_declares_no_inputs_takes_none(tmp_path: Path, inputs: str):
    schema = loaded(tmp_path, f"{inputs}\nsteps: [{{name: a, type: note}}]").inputs_schema
    assert normalise_inputs(schema, {}) == ({}, [])
    assert [p.code for p in normalise_inputs(schema, {"a": 1})[1]] == ["unknown-input"]


def test_a_reference_is_never_fetched():
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}
    with pytest.raises(Exception, match=r"(?i)unresolvable"):
        normalise_inputs(schema, {"a": 1})


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ("[]", "schema"),
        ("{type: array}", "schema"),
        ("{properties: {a: {type: strin}}}", "schema"),
        ("{properties: {a: {type: string, patern: x}}}", "schema"),
        ("{properties: {a: {pattern: '('}}}", "schema"),
        ("{properties: {a: {type: string, default: 1}}}", "schema"),
        ("{properties: {a: {$ref: 'http://example.org/x'}}}", "schema"),
        ("{properties: {a: {$ref: '#/$defs/no'}}}", "schema"),
        ("{properties: {a: {$ref: '#/$defs/b'}}, $defs: {b: {$ref: '#/$defs/b'}}}", "schema"),
        ("{$id: 'http://example.org/x', properties: {}}", "schema"),
        ("{$schema: 'http://json-schema.org/draft-07/schema#'}", "schema"),
        ("{required: [b], properties: {a: {}}}", "schema"),
        ("{required: b}", "schema"),
        ("{properties: {service-name: {}}}", "bad-value"),
        ("{properties: {wait_for: {}}}", "bad-value"),
        ("{properties: {class: {}}}", "bad-value"),
        ("{properties: {_a: {}}}", "bad-value"),
    ],
)
def test_a_bad_schema_is_found_in_the_template(tmp_path: Path, inputs: str, code: str):
    text = f"inputs: {inputs}\nsteps: [{{name: a, type: note}}]"
    assert set(codes(tmp_path, text)) == {code}


def test_a_schema_problem_points_at_its_place(tmp_path: Path):
    text = """
        inputs:
          properties:
            a: {type: string}
            b: {type: string, minLength: -1}
        steps: [{name: a, type: note}]
        """
    (problem,) = problems(tmp_path, text)
    assert (problem.line, problem.column) == (6, 34)


def test_local_references_and_recursion_are_allowed(tmp_path: Path):
    text = """
        inputs:
          properties: {tree: {$ref: '#/$defs/tree'}}
          $defs: {tree: {type: object, properties: {below: {$ref: '#/$defs/tree'}}}}
        steps: [{name: a, type: note}]
        """
    assert problems(tmp_path, text) == []
