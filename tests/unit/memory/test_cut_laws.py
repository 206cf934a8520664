"""What holds of the pieces of every file, whatever stands in it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.cutter import FileCutter

ROOT = Path(__file__).parents[3]
OURS = sorted(ROOT.glob("factory_runtime/**/*.py"))
# As they are handed out to others: templates, notes, settings of tools.
OTHERS = sorted(
    path
    for folder in ("factory_runtime/templates", "factory_runtime/jobs/sources", "docs/decisions")
    for path in (ROOT / folder).rglob("*")
    if path.is_file()
)
PYTHON = ("function", "class", "file")


def _cut(path: Path) -> tuple[list[str], tuple[Piece, ...]]:
    content = path.read_bytes()
    return content.decode().split("\n"), FileCutter().cut(path.name, content)


def _bare(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _stretches(text: str) -> Iterator[list[str]]:
    """What stands between the lines that stand for something left out."""
    stretch: list[str] = []
    for line in _bare(text.split("\n")):
        if line == "…":
            yield stretch
            stretch = []
        else:
            stretch.append(line)
    yield stretch


def _check(lines: Sequence[str], pieces: Sequence[Piece]) -> None:
    assert list(pieces) == sorted(pieces, key=lambda p: (p.first_line, -p.last_line))
    names = [(piece.kind, piece.name) for piece in pieces]
    assert len(set(names)) == len(names)
    for piece in pieces:
        assert 1 <= piece.first_line <= piece.last_line <= len(lines)
        assert 0 < len(piece.text) <= 8_000
        assert piece.name
        if piece.kind is not PieceKind.OPERATION and piece.language != "openapi":
            _check_text(lines, piece)
    functions = [piece for piece in pieces if piece.kind is PieceKind.FUNCTION]
    for above, below in pairwise(functions):
        assert above.last_line < below.first_line


def _check_text(lines: Sequence[str], piece: Piece) -> None:
    there = _bare(lines[piece.first_line - 1 : piece.last_line])
    first, *others = _stretches(piece.text)
    assert there[: len(first)] == first
    if not others:
        assert there == first
        return
    place = len(first)
    for stretch in others[:-1]:
        # Something is left out, so it is at least one line further on.
        place += 1
        while there[place : place + len(stretch)] != stretch:
            place += 1
            assert place < len(there)
        place += len(stretch)
    last = others[-1]
    assert len(there) - len(last) > place
    assert there[len(there) - len(last) :] == last


@pytest.mark.parametrize("part", range(4))
def test_pieces_tell_the_truth_of_real_python(part: int) -> None:
    for path in OURS[part::16]:
        lines, pieces = _cut(path)
        _check(lines, pieces)
        assert {piece.kind.value for piece in pieces} <= set(PYTHON)
        written = Counter(line for piece in pieces for line in _bare(piece.text.split("\n")))
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                top = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                inside = Counter(_bare(lines[top - 1 : node.end_lineno]))
                assert not inside - written, path


def test_pieces_tell_the_truth_of_templates_and_notes() -> None:
    found = 0
    for path in OTHERS:
        lines, pieces = _cut(path)
        _check(lines, pieces)
        found += len(pieces)
    assert found > len(OTHERS)


LINES = [
    b"def f(a):",
    b"    return a",
    b"    x = [1,",
    b"class A:",
    b"  def m(self):",
    b"}",
    b"function f() {",
    b"  if (a) { b(); }",
    b"/* c",
    b"*/",
    b"# Heading",
    b"```",
    b"- item: 1",
    b"key:",
    b"  nested: {a: 1}",
    b"select 1;",
    b"$$",
    b"\t\xe9\xff",
    b"'''",
    b"@dec",
    b"namespace N {",
    b"",
    b"\r",
    b"public class B { int f; }",
    b"func (b *B) F() {",
    b"openapi: 3.1.0",
    b"paths: {/a: {get: {summary: x}}}",
]
SUFFIXES = ["py", "ts", "js", "cs", "go", "java", "sh", "tf", "md", "yaml", "json", "sql", "x"]


@settings(max_examples=120)
@given(st.sampled_from(SUFFIXES), st.lists(st.sampled_from(LINES), max_size=60))
def test_pieces_tell_the_truth_of_broken_files(suffix: str, chosen: list[bytes]) -> None:
    content = b"\n".join(chosen)
    pieces = FileCutter().cut(f"a.{suffix}", content)
    assert pieces == FileCutter().cut(f"a.{suffix}", content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    _check(text.split("\n"), pieces)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_hundred_thousand_levels_end_well(suffix: str) -> None:
    # Braces of HCL work too, but take a second.
    for level in (b"(",) if suffix == "tf" else (b"{", b"("):
        # No line so long that the file counts as minified.
        FileCutter().cut(f"a.{suffix}", (level * 4_900 + b"\n") * 21)


@pytest.mark.parametrize("language", ["java", "cs", "js"])
def test_classes_nested_by_the_thousand_end_well(language: str) -> None:
    pieces = FileCutter().cut(f"a.{language}", b"class A {\n" * 4_000 + b"}\n" * 4_000)
    assert pieces


def test_a_file_gives_no_more_than_two_thousand_pieces() -> None:
    content = b"".join(b"def f%d():\n    a = 1\n    return a\n" % n for n in range(2_100))
    assert len(FileCutter().cut("a.py", content)) == 2_000


def test_parsers_are_loaded_with_the_first_code() -> None:
    script = (
        "import sys; from factory_runtime.memory.cutting.cutter import FileCutter;"
        "FileCutter().cut('a.yaml', b'key: value');"
        "assert not [m for m in sys.modules if m.startswith('tree_sitter')];"
        "FileCutter().cut('a.py', b'def f():\\n    a = 1\\n    return a');"
        "assert 'tree_sitter_python' in sys.modules and 'tree_sitter_go' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
