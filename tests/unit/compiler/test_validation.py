from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from factory_runtime.compiler.schema import normalise_inputs
from factory_runtime.compiler.validation import MAX_ERRORS, validator_for
from factory_runtime.compiler.work import EndlessError, Work, one_work

LEFT_OVER = {"unevaluatedProperties": False}
VALUES: list[Any] = [
    {},
    {"a": 1},
    {"a": "x"},
    {"b": 1},
    {"a": 1, "b": 1},
    {"ab": 1, "c": 2},
    {"a": None, "c": {"a": 1}},
    [],
    [1, 1.0],
    [1, True],
    [0, False, "0", None, [], {}],
    [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}],
    [[1], [True]],
    "abc",
    "b",
    "xyz",
]
SCHEMAS: list[dict[str, Any]] = [
    {"uniqueItems": True},
    {"uniqueItems": False},
    {"patternProperties": {"^a": {"type": "integer"}}},
    {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
    {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
    {"properties": {"a": {}}, **LEFT_OVER},
    {"patternProperties": {"^a": True}, **LEFT_OVER},
    {"allOf": [{"properties": {"a": {"type": "integer"}}}], **LEFT_OVER},
    {"anyOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {}], **LEFT_OVER},
    {"oneOf": [{"required": ["a"], "properties": {"a": {}}}, {"required": ["b"]}], **LEFT_OVER},
    {
        "if": {"required": ["a"], "properties": {"a": {}}},
        "then": {"properties": {"b": {}}},
        "else": {"additionalProperties": {"type": "integer"}},
        **LEFT_OVER,
    },
    {"dependentSchemas": {"a": {"properties": {"a": {}, "b": {}}}}, **LEFT_OVER},
    {"$ref": "#/$defs/d", "$defs": {"d": {"properties": {"a": {}, "c": {}}}}, **LEFT_OVER},
    {"properties": {"a": {}}, "unevaluatedProperties": {"type": "integer"}},
    {"allOf": [{"unevaluatedProperties": {"type": "integer"}}], **LEFT_OVER},
    {"pattern": "b"},
    {"not": {"pattern": "^b"}},
    {"propertyNames": {"pattern": "^a"}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_what_fits_is_what_the_library_says(schema: dict[str, Any]):
    plain = cast("Any", Draft202012Validator(schema))
    bounded = validator_for(schema)
    fits = [value for value in VALUES if plain.is_valid(value)]
    assert [value for value in VALUES if not list(bounded.iter_errors(value))] == fits
    assert 0 < len(fits) < len(VALUES) or schema == {"uniqueItems": False}


def test_a_schema_is_read_once_and_not_taken_for_an_equal_one():
    schema, other = {"type": "object"}, {"type": "object"}
    assert validator_for(schema) is validator_for(schema)
    assert validator_for(schema) is not validator_for(other)


def test_what_is_checked_next_has_its_own_count():
    many = {"type": "object", "properties": {"x": {"anyOf": [False] * 4000}}}
    for _ in range(2):
        (problem,) = normalise_inputs(many, {"x": list(range(10_000))})[1]
        assert "asks too much" in problem.message
        assert normalise_inputs({"type": "object"}, {"x": 1}) == ({"x": 1}, [])


def test_what_is_checked_together_is_counted_together():
    schema, value = {"items": {"type": "integer"}}, list(range(1000))
    check = validator_for(schema)
    with one_work() as work:
        assert list(check.iter_errors(value)) == []
        work.charge(work.left)
        with pytest.raises(EndlessError):
            check.iter_errors(value)
    assert list(check.iter_errors(value)) == []


def test_a_large_list_of_mistakes_is_told_in_part():
    schema: Mapping[str, Any] = {"properties": {"x": {"items": {"type": "integer"}}}}
    problems = normalise_inputs(schema, {"x": ["a"] * 10_000})[1]
    assert len(problems) == MAX_ERRORS


def test_many_large_inputs_in_order_are_taken():
    row = {"type": "object", "properties": {"a": {"pattern": "^[a-z]+$"}, "b": {"minimum": 0}}}
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": row}}}
    given = {"x": [{"a": "orders", "b": number} for number in range(2000)]}
    assert normalise_inputs(schema, given)[1] == []


def test_a_value_is_as_large_as_what_is_in_it():
    work = Work()
    assert work.size_of({"a": [1, 2, {"b": "x" * 640}], "c": None}) == 17
    assert work.size_of("x" * 63) == 1
