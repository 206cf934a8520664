"""The published shapes that requests and answers are held against.

``shapes/*.json`` hold our own selection, as JSON Schema, of what Microsoft publishes as Swagger in
https://github.com/MicrosoftDocs/vsts-rest-api-specs; each file names the one it was made from. They
are closed: a name that is not published fails, in a request as in an answer.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

FOLDER = Path(__file__).parent / "shapes"


@cache
def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in sorted(FOLDER.glob("*.json")):
        told = json.loads(file.read_text())
        assert told["source"].startswith("https://"), file.name
        twice = found.keys() & told["$defs"].keys()
        assert not twice, f"{file.name} says again what {twice} are"
        found |= told["$defs"]
    return found


@cache
def _validator(shape: str) -> Any:
    name, is_list = shape.removesuffix("[]"), shape.endswith("[]")
    schema: dict[str, Any] = {"$ref": f"#/$defs/{name}"}
    if is_list:  # how every list travels, though the Swagger says "array"
        schema = {
            "type": "object",
            "required": ["count", "value"],
            "properties": {
                "count": {"type": "integer"},
                "value": {"type": "array", "items": schema},
            },
            "additionalProperties": False,
        }
    return jsonschema_rs.validator_for({**schema, "$defs": _definitions()}, validate_formats=True)


def wrong_with(shape: str, said: Any) -> str | None:
    """What is wrong with it; None where it has its shape. A shape with ``[]`` is of a list."""
    errors = [
        f"{shape} at /{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in _validator(shape).iter_errors(said)
    ]
    return "; ".join(errors) or None
