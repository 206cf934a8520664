"""Examples for the OpenAPI document: those that the models give, and for the rest what a value is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

Schema = Mapping[str, Any]

_REF = "#/components/schemas/"
_TEXTS = {
    "date-time": "2026-11-21T12:00:00Z",
    "date": "2026-11-21",
    "uri": "https://example.com/",
    "duration": "PT2H",
}
_OF_NAMES = {
    "actor": "ada",
    "artifactId": "art-01k7d2v9f5x7m3g8t1r6c4w0qa",
    "correlationId": "run-01k7d2v9f5x7m3g8t1r6c4w0qa",
    "projectId": "shop",
    "requestedBy": "ada",
    "runId": "run-01k7d2v9f5x7m3g8t1r6c4w0qa",
    "step": "generate-repo",
    "templateId": "microservice",
    "templateRecipeId": "microservice",
    "templateVersion": "1.0.0",
    "tenantId": "acme",
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
}
"""What values of these names look like everywhere."""
_DEEPEST = 8


def give_examples(document: dict[str, Any]) -> None:
    """Give one to every body in JSON that has none: once to a model, however often it is used."""
    schemas: dict[str, dict[str, Any]] = document.get("components", {}).get("schemas", {})
    for media in bodies_of(document):
        schema = media.get("schema", {})
        named = schemas.get(schema.get("$ref", "").removeprefix(_REF))
        if named is not None:
            named.setdefault("examples", [example_of(named, schemas)])
        elif "example" not in media and "examples" not in media:
            media["example"] = example_of(schema, schemas)


def bodies_of(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is said of each body in JSON that is asked with or answered."""
    for operations in document["paths"].values():
        for operation in operations.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for body in cast("list[dict[str, Any]]", bodies):
                content = cast("dict[str, dict[str, Any]]", body.get("content", {}))
                yield from (media for kind, media in content.items() if kind.endswith("json"))


def example_of(schema: Schema, schemas: Mapping[str, Schema], depth: int = 0) -> Any:
    """A value that the schema allows; what is nested deeper than eight levels is left out."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].removeprefix(_REF)]
    if schema.get("examples"):
        return schema["examples"][0]
    for key in ("example", "const"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("default") is not None:
        return schema["default"]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example_of(schema[key][0], schemas, depth)
    return _plain(schema, schemas, depth)


def _plain(schema: Schema, schemas: Mapping[str, Schema], depth: int) -> Any:
    match schema.get("type"):
        case "object":
            properties = cast("Mapping[str, Schema]", schema.get("properties", {}))
            inner: Mapping[str, Schema] = {} if depth >= _DEEPEST else properties
            return {
                name: _OF_NAMES.get(name) or example_of(one, schemas, depth + 1)
                for name, one in inner.items()
            }
        case "array":
            items = schema.get("items")
            one = (
                []
                if items is None or depth >= _DEEPEST
                else [example_of(items, schemas, depth + 1)]
            )
            return one * max(1, schema.get("minItems", 0))
        case "string":
            return _TEXTS.get(schema.get("format", ""), "text"[: schema.get("maxLength", 4)])
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return None
