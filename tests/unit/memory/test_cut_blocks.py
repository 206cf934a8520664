"""Text without a parser is cut at blank lines and along the left edge."""

from __future__ import annotations

import pytest

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.cutter import FileCutter


def cut(path: str, text: str) -> dict[str, Piece]:
    return {piece.name: piece for piece in FileCutter().cut(path, text.encode())}


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("Dockerfile", "dockerfile"),
        ("Dockerfile.jinja", "dockerfile"),
        ("api.dockerfile", "dockerfile"),
        ("main.bicep", "bicep"),
        ("schema.sql", "sql"),
        ("{% if database == 'postgres' %}compose.yaml{% endif %}.jinja", "yaml"),
        ("NOTICE", ""),
    ],
)
def test_short_file_is_one_piece(path: str, language: str) -> None:
    (piece,) = FileCutter().cut(path, b"\nFROM python:3.12 AS build\n\nCMD run\n\n")
    assert (piece.kind, piece.language) == (PieceKind.FILE, language)
    assert (piece.name, piece.first_line, piece.last_line) == (path, 2, 4)


def test_yaml_is_cut_at_its_top_level_keys() -> None:
    keys = [f"key{n}:\n" + "".join(f"  part{m}: {m}\n" for m in range(20)) for n in range(12)]
    pieces = cut("values.yaml", "".join(keys))
    assert len(pieces) > 2
    for name, piece in pieces.items():
        assert name.startswith("values.yaml > key")
        assert piece.text.startswith("key")
        assert piece.text.endswith("part19: 19")


def test_list_at_the_left_edge_stays_with_its_key() -> None:
    lists = [f"key{n}:\n" + "".join(f"- part{m}\n" for m in range(25)) for n in range(12)]
    for piece in cut("values.yaml", "".join(lists)).values():
        assert piece.text.startswith("key")
        assert piece.text.endswith("- part24")


def test_key_that_is_too_large_is_cut_at_those_below() -> None:
    rows = "".join(f"  part{n}:\n    value: {'x' * 60}\n" for n in range(200))
    pieces = cut("values.yaml", f"key:\n{rows}")
    assert len(pieces) > 2
    assert all(piece.text.endswith("x" * 60) for piece in pieces.values())


def test_statement_of_sql_is_not_cut_inside() -> None:
    table = "CREATE TABLE orders_{0} (\n\nid int,\n\nname text\n);\n"
    function = (
        "CREATE FUNCTION f_{0}() AS $body$\nBEGIN\n\nSELECT 1;\n\nEND;\n$body$ LANGUAGE sql;\n"
    )
    text = "".join(table.format(n) + "-- about it\n" + function.format(n) for n in range(40))
    pieces = cut("schema.sql", text)
    assert len(pieces) > 2
    for piece in pieces.values():
        assert piece.text.startswith(("CREATE", "-- about it\nCREATE FUNCTION"))
        assert piece.text.endswith(");") or piece.text.endswith("LANGUAGE sql;")


def test_continued_instruction_is_not_cut() -> None:
    run = "RUN install \\\none \\\ntwo\n"
    pieces = cut("Dockerfile", "FROM a\n" + run * 80)
    assert len(pieces) > 2
    assert all(piece.text.endswith("two") for piece in pieces.values())


def test_hostile_yaml_is_plain_text() -> None:
    bomb = "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9 if n else 1}]\n" for n in range(30))
    (piece,) = FileCutter().cut("a.yaml", f"openapi: 3.1.0\n{bomb}".encode())
    assert piece.kind is PieceKind.FILE
