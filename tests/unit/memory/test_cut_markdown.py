"""Markdown is cut at its headings."""

from __future__ import annotations

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.cutter import FileCutter

NOTE = """\
# 7. Orders are kept in PostgreSQL

## Context

Orders outlive the process.

## Decision

PostgreSQL, one schema a service.

## Consequence

Migrations run before a release.
"""


def cut(text: str, path: str = "docs/setup.md") -> dict[str, Piece]:
    return {piece.name: piece for piece in FileCutter().cut(path, text.encode())}


def test_sections_are_named_by_the_headings_above_them() -> None:
    pieces = cut(
        "intro\n\n# Setup\n\nFirst.\n\n## `Keys` of [it](x)\n\nA key.\n\nUse\n===\n\nRun.\n"
    )
    lines = {name: (piece.first_line, piece.last_line) for name, piece in pieces.items()}
    assert lines == {
        "setup.md": (1, 1),
        "Setup": (3, 5),
        "Setup > Keys of it": (7, 9),
        "Use": (11, 14),
    }
    assert pieces["Setup > Keys of it"].text == "## `Keys` of [it](x)\n\nA key."
    assert all(piece.kind is PieceKind.SECTION for piece in pieces.values())
    assert all(piece.language == "markdown" for piece in pieces.values())


def test_heading_with_nothing_under_it_only_names_others() -> None:
    assert list(cut("# Setup\n\n## Keys\n\nA key.\n")) == ["Setup > Keys"]


def test_front_matter_is_left_out_and_lines_stay_true() -> None:
    (piece,) = cut("---\ntitle: Setup\n---\n# Setup\n\nFirst.\n").values()
    assert (piece.name, piece.first_line, piece.last_line) == ("Setup", 4, 6)
    assert list(cut("---\n\nAfter a rule.\n")) == ["setup.md"]


def test_heading_in_fenced_code_is_no_heading() -> None:
    (piece,) = cut("# Setup\n\n```sh\n# not this\nrun\n```\n").values()
    assert piece.name == "Setup"
    assert "# not this" in piece.text


def test_long_section_is_cut_between_paragraphs() -> None:
    paragraphs = [f"Paragraph {n}.\n" + "Something about it.\n" * 15 for n in range(10)]
    pieces = cut("# Setup\n\n" + "\n".join(paragraphs))
    assert list(pieces) == ["Setup", *(f"Setup ({n})" for n in range(2, len(pieces) + 1))]
    assert len(pieces) > 1
    for name, piece in pieces.items():
        assert piece.text.startswith("# Setup" if name == "Setup" else "Paragraph ")
        assert piece.text.endswith("about it.")
        assert len(piece.text) <= 1_600


def test_fenced_code_is_never_cut() -> None:
    code = "```sh\n" + "run something\n\n" * 250 + "```\n"
    pieces = cut("# Setup\n\nFirst.\n\n" + code + "\n" + "Then.\n" * 100)
    fenced = [piece for piece in pieces.values() if "run something" in piece.text]
    assert [piece.text.count("```") for piece in fenced] == [2]


def test_long_table_and_list_are_cut_between_their_items() -> None:
    rows = "".join(f"| setting {n} | {'what it is for ' * 3}|\n" for n in range(60))
    items = "".join(f"- item {n}\n  {'what it is for ' * 3}\n" for n in range(60))
    pieces = cut(f"# Setup\n\n| a | b |\n|---|---|\n{rows}\n\n## Items\n\n{items}")
    assert len(pieces) > 4
    for name, piece in pieces.items():
        assert len(piece.text) <= 1_600
        if "Items (" in name:
            assert piece.text.startswith("- item")


def test_short_decision_note_is_one_piece() -> None:
    (piece,) = cut(NOTE).values()
    assert piece.name == "7. Orders are kept in PostgreSQL"
    assert (piece.first_line, piece.last_line) == (1, 13)


def test_long_decision_note_is_cut_at_its_headings() -> None:
    pieces = cut(NOTE.replace("process.", "process. " * 200))
    title = "7. Orders are kept in PostgreSQL"
    assert list(pieces) == [f"{title} > {part}" for part in ("Context", "Decision", "Consequence")]


def test_quotes_and_lists_as_deep_as_they_are_long_end_well() -> None:
    assert cut(">" * 4_900 + " x\n")
    assert cut("".join("> " * 400 + "x\n" for _ in range(400)))
    assert cut("".join(" " * (2 * n) + "- a\n" for n in range(400)))
    assert cut("[a]: <\n" * 25_000)
