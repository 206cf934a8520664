"""A template as Prefect sees it: a named, versioned flow with typed parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

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


def test_the_built_in_template_is_found_by_its_dotted_name():
    import flows.templates as templates

    found = templates.microservice
    assert found.name == "microservice"
    assert "service_name" in found.parameters.properties


def test_an_unknown_template_is_an_unknown_attribute():
    import flows.templates as templates

    with pytest.raises(AttributeError, match="no template 'nonsense'"):
        _ = templates.nonsense
