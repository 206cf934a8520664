"""A description of an API is cut into its operations and its schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.cutter import FileCutter

SHOP = """\
openapi: 3.1.0
info: {title: Shop, version: "1"}
paths:
  /orders:
    parameters:
      - {name: tenant, in: header, schema: {type: string}, description: whose}
    get:
      summary: List orders
      parameters:
        - $ref: "#/components/parameters/Limit"
      responses:
        200:
          description: Some
          content:
            application/json:
              schema: {type: array, items: {$ref: "#/components/schemas/Order"}}

    post:
      summary: Place an order
      description: |
        Twice with the same key
        is once.
      operationId: placeOrder
      tags: [orders]
      requestBody:
        description: what to buy
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Order"}
      responses:
        201: {description: Placed}
        default: {$ref: "#/components/responses/Problem"}
components:
  parameters:
    Limit: {name: limit, in: query, required: true, schema: {type: integer, format: int32}}
  responses:
    Problem: {description: It went wrong}
  schemas:
    Order:
      description: What a customer buys.
      required: [item]
      properties:
        item: {type: string, description: its number}
        state: {enum: [open, paid]}
        parts: {type: array, items: {$ref: "#/components/schemas/Order"}}
    Plain:
      type: string
"""


def cut(text: str, path: str = "api.yaml") -> dict[str, Piece]:
    return {piece.name: piece for piece in FileCutter().cut(path, text.encode())}


def test_operations_and_described_schemas_are_pieces() -> None:
    pieces = cut(SHOP)
    told = {name: (p.kind, p.first_line, p.last_line) for name, p in pieces.items()}
    assert told == {
        "GET /orders": (PieceKind.OPERATION, 7, 16),
        "POST /orders": (PieceKind.OPERATION, 18, 32),
        "Order": (PieceKind.CLASS, 39, 45),
    }
    assert all(piece.language == "openapi" for piece in pieces.values())


def test_operation_is_written_out() -> None:
    pieces = cut(SHOP)
    assert pieces["GET /orders"].text == (
        "GET /orders: List orders\n"
        "Parameters:\n"
        "  tenant (header, string): whose\n"
        "  limit (query, integer int32, required)\n"
        "Responses:\n"
        "  200 (list of Order): Some"
    )
    lines = pieces["POST /orders"].text.split("\n")
    assert lines[:4] == [
        "POST /orders: Place an order",
        "Twice with the same key is once.",
        "Tags: orders",
        "Operation: placeOrder",
    ]
    assert "Request body (application/json), Order: what to buy" in lines
    assert "  item (string, required): its number" in lines
    assert "  state (one of open, paid)" in lines
    assert lines[-2:] == ["  201: Placed", "  default: It went wrong"]


def test_older_description_in_json_is_read() -> None:
    api: dict[str, Any] = {
        "swagger": "2.0",
        "paths": {
            "/orders": {
                "put": {
                    "summary": "Change 😀",
                    "parameters": [
                        {"in": "body", "name": "o", "schema": {"$ref": "#/definitions/Order"}}
                    ],
                    "responses": {"200": {"schema": {"$ref": "#/definitions/Order"}}},
                }
            }
        },
        "definitions": {"Order": {"description": "An order.", "properties": {"id": {}}}},
    }
    for indent in (None, 2):
        pieces = cut(json.dumps(api, indent=indent), "swagger.json")
        assert list(pieces) == ["PUT /orders", "Order"]
        text = pieces["PUT /orders"].text
        assert text.startswith("PUT /orders: Change 😀\nRequest body, Order\n  id (any)\n")
        assert text.endswith("  200 (Order)")


def test_references_in_circles_and_out_of_the_file_end() -> None:
    several = ",\n      ".join(
        ["{allOf: [{$ref: '#/components/schemas/A'}, {$ref: '#/components/schemas/A'}]}"] * 300
    )
    text = f"""\
openapi: 3.0.0
paths:
  /a:
    get:
      parameters: [{{$ref: "#/paths/~1a/get/parameters/0"}}]
      requestBody: {{content: {{x: {{schema: {{$ref: "#/components/schemas/A"}}}}}}}}
      responses: {{200: {{$ref: "file:///etc/passwd"}}, 201: {{$ref: "../b.yaml#/c"}}}}
  /b: {{$ref: "#/paths/~1b"}}
  /c: null
components:
  schemas:
    A: {{allOf: [{several}]}}
"""
    pieces = cut(text)
    assert list(pieces) == ["GET /a"]
    assert len(pieces["GET /a"].text) < 200


def test_wrong_types_anywhere_do_no_harm() -> None:
    for wrong in ("3", "[1, {a: 2}]", "{a: [1]}", "text", "null"):
        for key in ("parameters", "requestBody", "responses", "tags", "summary", "description"):
            text = f"openapi: 3.0.0\npaths:\n  /a:\n    get:\n      {key}: {wrong}\n"
            assert list(cut(text)) == ["GET /a"]
        assert cut(f"openapi: 3.0.0\npaths: {wrong}\ncomponents: {wrong}\n")


def test_long_operation_is_bounded() -> None:
    fields = "".join(f"          f{n}: {{description: {'x' * 900}}}\n" for n in range(200))
    text = (
        "openapi: 3.0.0\npaths:\n  /a:\n    post:\n      requestBody:\n        content:\n"
        f"         json:\n          schema:\n           properties:\n{fields}"
    ).replace("          f", "            f")
    (piece,) = cut(text).values()
    assert piece.name == "POST /a"
    assert 7_000 < len(piece.text) <= 8_000


def test_our_own_description_has_a_piece_for_each_operation() -> None:
    content = (Path(__file__).parents[3] / "api" / "openapi.json").read_bytes()
    described = json.loads(content)
    pieces = FileCutter().cut("openapi.json", content)
    operations = {piece.name for piece in pieces if piece.kind is PieceKind.OPERATION}
    assert operations == {
        f"{method.upper()} {path}"
        for path, item in described["paths"].items()
        for method in item
        if method != "parameters"
    }
    lines = content.decode().split("\n")
    for piece in pieces:
        if piece.kind is PieceKind.OPERATION:
            method = piece.name.split()[0].lower()
            assert lines[piece.first_line - 1].strip().startswith(f'"{method}"')
