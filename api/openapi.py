"""The OpenAPI document: what FastAPI makes of the routes, with problems in place of its own."""

from __future__ import annotations

from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.examples import give_examples
from factory_runtime.wire.problem import Problem

_REF = "#/components/schemas/{model}"
_CREDENTIALS = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a token of an issuer that the factory trusts.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "The same, where `Authorization` is somebody else's.",
    },
}


def document(app: FastAPI) -> None:
    """Have the application describe itself so."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi


def _document(app: FastAPI) -> dict[str, Any]:
    whole = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    schemas = cast("dict[str, Any]", whole.setdefault("components", {}).setdefault("schemas", {}))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = Problem.model_json_schema(by_alias=True, ref_template=_REF)
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    whole["components"]["securitySchemes"] = _CREDENTIALS
    # On the loopback, and of what is for everybody, none is needed.
    whole["security"] = [*({name: []} for name in _CREDENTIALS), {}]
    give_examples(whole)
    return whole
