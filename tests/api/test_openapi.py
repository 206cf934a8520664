"""The OpenAPI document: it is kept, takes nothing from clients, and shows every body."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.examples import bodies_of
from tests.api.openapi_breaks import breaks
from tests.api.openapi_file import FILE, document, kept, spelled


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return document()


def test_the_kept_document_is_that_of_the_code(now: dict[str, Any]):
    # It is only written anew where it breaks nothing: `python -m tests.api.openapi_file`.
    assert breaks(kept(), now) == []
    assert FILE.read_text() == spelled(now)


def test_every_body_has_an_example_that_its_schema_allows(now: dict[str, Any]):
    wrong: set[str] = set()
    for media in bodies_of(now):
        name = media["schema"].get("$ref", "").rpartition("/")[2]
        of_model = now["components"]["schemas"].get(name, {}).get("examples", [])
        given = [media["example"]] if "example" in media else of_model
        schema = {**media["schema"], "components": now["components"]}
        found: Any = Draft202012Validator(schema)
        wrong |= {f"{name}: {one.message}" for it in given for one in found.iter_errors(it)}
        if not given:
            wrong.add(f"{name or media['schema']} has none")
    assert wrong == set()


Change = Callable[[dict[str, Any]], object]

RUN = "/runs/{runId}"
OLD: dict[str, Any] = {
    "paths": {
        RUN: {
            "get": {
                "parameters": [
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 9}}
                ],
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Run"}}
                        }
                    },
                    "404": {},
                },
            },
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Ask"}}
                    }
                },
                "responses": {"202": {}},
            },
        }
    },
    "components": {
        "schemas": {
            "Run": {
                "type": "object",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string"},
                    "status": {"type": "string", "enum": ["Queued", "Failed"]},
                    "jobs": {"type": "array", "items": {"$ref": "#/components/schemas/Run"}},
                },
            },
            "Ask": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 9},
                    "size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                },
            },
        }
    },
}


def run_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["components"]["schemas"]["Run"]


def ask_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["components"]["schemas"]["Ask"]


def get_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["paths"][RUN]["get"]


BREAKS: dict[str, Change] = {
    "get /runs": lambda it: it["paths"][RUN].pop("get"),
    "404 is gone": lambda it: get_of(it)["responses"].pop("404"),
    "limit is gone": lambda it: get_of(it)["parameters"].clear(),
    "maximum is 3": lambda it: get_of(it)["parameters"][0]["schema"].update(maximum=3),
    "limit is required": lambda it: get_of(it)["parameters"][0].update(required=True),
    "json is gone": lambda it: get_of(it)["responses"]["200"].update(content={}),
    "id is gone": lambda it: run_of(it)["properties"].pop("id"),
    "id is optional": lambda it: run_of(it).update(required=[]),
    "id may be integer": lambda it: run_of(it)["properties"]["id"].update(type="integer"),
    "never Failed": lambda it: run_of(it)["properties"]["status"].update(enum=["Queued"]),
    "name is required": lambda it: ask_of(it).update(required=["name"]),
    "name is gone": lambda it: ask_of(it)["properties"].pop("name"),
    "maxLength is 5": lambda it: ask_of(it)["properties"]["name"].update(maxLength=5),
    "another pattern": lambda it: ask_of(it)["properties"]["name"].update(pattern="[a-z]"),
    "one of a few": lambda it: ask_of(it)["properties"]["name"].update(enum=["a"]),
    "size may not be null": lambda it: ask_of(it)["properties"]["size"]["anyOf"].pop(),
    "without a body": lambda it: it["paths"][RUN]["post"]["requestBody"].update(required=True),
}
ADDS: dict[str, Change] = {
    "nothing": lambda _: None,
    "a path": lambda it: it["paths"].update(new={}),
    "a status": lambda it: get_of(it)["responses"].update({"409": {}}),
    "a field": lambda it: run_of(it)["properties"].update(more={"type": "string"}),
    "a field asked for": lambda it: ask_of(it)["properties"].update(more={"type": "string"}),
    "room": lambda it: ask_of(it)["properties"]["name"].update(maxLength=99),
    "a promise": lambda it: run_of(it).update(required=["id", "status"]),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_taken_from_clients_is_named(what: str):
    new = copy.deepcopy(OLD)
    BREAKS[what](new)
    (found,) = breaks(OLD, new)
    assert what.lower() in found.lower()


@pytest.mark.parametrize("what", ADDS)
def test_what_is_added_breaks_nobody(what: str):
    new = copy.deepcopy(OLD)
    ADDS[what](new)
    assert breaks(OLD, new) == []
