"""A template as Prefect sees it: a named, versioned flow with typed parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from prefect.utilities.callables import (
    get_call_parameters,
    parameter_schema,
    parameters_to_args_kwargs,
)

from flows.forms import form_of
from flows.templates import template_flow

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^(?!x)[a-z]+$", "title": "Name"},
        "kind": {"enum": ["web", "batch"], "default": "web", "description": "what it does"},
        "size": {"type": "integer", "default": 3},
        "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        "owner": {"type": "string"},
    },
}


NESTED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "owner": {"$ref": "#/$defs/person"},
        "services": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z]+$", "description": "Lower case."}
                },
            },
        },
        "anything": True,
        "odd": {"enum": [1.5, ["a"]]},
    },
    "$defs": {"person": {"type": "object", "properties": {"mail": {"type": "string"}}}},
}


@pytest.fixture(scope="module")
def properties() -> dict[str, Any]:
    found = template_flow("my-service", "1.2.3", "Makes it.", SCHEMA)
    assert (found.name, found.version, found.description) == ("my-service", "1.2.3", "Makes it.")
    assert inspect.iscoroutinefunction(found.fn)
    assert found.parameters.required == ["name"]
    return found.parameters.properties


def test_parameters_stand_in_the_template_s_order(properties: dict[str, Any]):
    by_position = sorted(properties, key=lambda name: properties[name]["position"])
    assert by_position == list(SCHEMA["properties"])


def test_parameters_are_typed_and_told(properties: dict[str, Any]):
    assert properties["name"]["type"] == "string"
    assert properties["name"]["title"] == "Name"
    assert properties["kind"]["enum"] == ["web", "batch"]
    assert properties["kind"]["default"] == "web"
    assert properties["kind"]["description"] == "what it does"
    assert properties["size"]["type"] == "integer"
    assert properties["tags"]["items"] == {"type": "string"}
    assert properties["owner"]["type"] == "string"


def test_a_pattern_that_only_json_schema_knows_is_shown_and_breaks_nothing(
    properties: dict[str, Any],
):
    assert properties["name"]["pattern"] == "^(?!x)[a-z]+$"


def test_a_form_tells_the_rule_before_it_is_broken():
    form = form_of(SCHEMA)
    assert form["properties"]["name"]["description"] == "Must match ^(?!x)[a-z]+$"
    nested = form_of(NESTED)
    name = nested["properties"]["services"]["items"]["properties"]["name"]
    assert name["description"] == "Lower case. Must match ^[a-z]+$"
    assert "description" not in nested["properties"]["services"]


def test_a_form_spares_people_what_a_pattern_says_to_machines_alone():
    line = {"type": "string", "pattern": r"^[^\u0000-\u001f]*(?!\n)$", "description": "one line"}
    name = {"type": "string", "pattern": r"^[a-z]+(?!\n)$", "description": "lower case"}
    form = form_of({"type": "object", "properties": {"line": line, "name": name}})
    assert form["properties"]["line"] == {**line, "title": "Line", "position": 0}
    assert form["properties"]["name"]["description"] == "lower case. Must match ^[a-z]+$"
    assert form["properties"]["name"]["pattern"] == name["pattern"]


def test_a_form_tells_with_an_array_what_its_items_must_be():
    items = {"type": "string", "pattern": "^[a-z]+$", "description": "Lower case."}
    array = {"type": "array", "items": items}
    told = {**array, "description": "What it keeps."}
    form = form_of({"type": "object", "properties": {"entities": array, "told": told}})
    said = [field["description"] for field in form["properties"].values()]
    assert said == [
        "Each: Lower case. Must match ^[a-z]+$",
        "What it keeps. Each must match ^[a-z]+$",
    ]


def test_every_field_of_a_form_has_a_title():
    form = form_of(NESTED)
    services = form["properties"]["services"]
    assert services["title"] == "Services"
    assert services["items"]["properties"]["name"]["title"] == "Name"
    assert form["definitions"]["person"]["properties"]["mail"]["title"] == "Mail"
    assert form["properties"]["anything"] == {"title": "Anything", "position": 2}
    odd = {"type": "object", "properties": {"max-size_mib": {}, "_": {"title": "Mine"}, "": {}}}
    titles = [field["title"] for field in form_of(odd)["properties"].values()]
    assert titles == ["Max size mib", "Mine", ""]


def test_a_form_is_closed_unless_its_template_says_otherwise():
    assert form_of(SCHEMA)["additionalProperties"] is False
    assert form_of({**SCHEMA, "additionalProperties": True})["additionalProperties"] is True


def test_a_form_finds_its_definitions_where_prefect_looks_for_them():
    form = form_of(NESTED)
    assert form["properties"]["owner"]["$ref"] == "#/definitions/person"
    assert form["definitions"]["person"]["properties"]["mail"]["type"] == "string"
    assert "$defs" not in form


def test_prefect_s_own_deploy_makes_as_good_a_form():
    made = parameter_schema(template_flow("my-service", "1.2.3", "Makes it.", SCHEMA))
    assert made.required == ["name"]
    assert made.properties["name"]["pattern"] == "^(?!x)[a-z]+$"
    assert made.properties["kind"]["enum"] == ["web", "batch"]
    assert made.properties["kind"]["default"] == "web"
    assert made.properties["tags"]["items"] == {"type": "string"}
    assert {"type": "null"} in made.properties["owner"]["anyOf"]
    parameter_schema(template_flow("nested", "1.0.0", "", NESTED))


@pytest.mark.parametrize("given", [{}, {"name": 1}, {"a b": 1, "": 2, "class": None, "name": "x"}])
def test_whatever_a_flow_is_given_fits_its_signature(given: dict[str, Any]):
    found = template_flow("my-service", "1.2.3", "Makes it.", SCHEMA, given=given)
    arguments, named = parameters_to_args_kwargs(found.fn, given)
    assert get_call_parameters(found.fn, arguments, named).items() >= given.items()


def test_the_built_in_template_is_found_by_its_dotted_name():
    import flows.templates as templates

    found = templates.microservice
    assert found.name == "microservice"
    assert "service_name" in found.parameters.properties


def test_an_unknown_template_is_an_unknown_attribute():
    import flows.templates as templates

    with pytest.raises(AttributeError, match="no template 'nonsense'"):
        _ = templates.nonsense
