"""Code is cut along functions and classes."""

from __future__ import annotations

from textwrap import dedent

import pytest

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.cutter import FileCutter

LONG = "\n".join(f"        self.step_{n}(value)" for n in range(40))
BASKET = f'''\
"""What a customer is about to buy."""

import os
from shop.items import Item

LIMIT = int(os.environ.get("LIMIT", "50"))


class Basket:
    """Items, not yet ordered."""

    items: list[Item]

    def __init__(self) -> None:
        self.items = []

    @property
    def size(self) -> int:
        return len(self.items)

    # Twice is once.
    @audited
    def add(
        self, item: Item
    ) -> None:
        """Put one more in."""
        if len(self.items) < LIMIT:
            self.items.append(item)

    def clear(self) -> None:
        """Take all out."""
{LONG}
'''


def cut(path: str, text: str) -> dict[str, Piece]:
    return {piece.name: piece for piece in FileCutter().cut(path, dedent(text).encode())}


def test_long_class_is_its_outline_and_its_methods() -> None:
    pieces = cut("shop/basket.py", BASKET)
    assert list(pieces) == ["basket.py", "Basket", "Basket.add", "Basket.clear"]
    add = pieces["Basket.add"]
    assert (add.kind, add.first_line, add.last_line) == (PieceKind.FUNCTION, 21, 28)
    assert add.text.startswith("# Twice is once.\n@audited\ndef add(\n    self, item: Item\n")
    outline = pieces["Basket"]
    assert outline.kind is PieceKind.CLASS
    assert "Items, not yet ordered." in outline.text
    assert "    ) -> None:\n…\n" in outline.text  # the signature, without what it does
    assert "Put one more in." not in outline.text
    assert "return len(self.items)" in outline.text  # too little for a piece of its own


def test_what_stands_outside_is_one_piece_without_imports() -> None:
    rest = cut("shop/basket.py", BASKET)["basket.py"]
    assert rest.kind is PieceKind.FILE
    assert (rest.first_line, rest.last_line) == (1, 6)
    assert rest.text == (
        '"""What a customer is about to buy."""\n…\nLIMIT = int(os.environ.get("LIMIT", "50"))'
    )


def test_short_class_stays_whole() -> None:
    (piece,) = FileCutter().cut("a.py", BASKET.replace(LONG, "        self.items = []").encode())[
        1:
    ]
    assert piece.name == "Basket"
    assert "Put one more in." in piece.text


def test_outline_has_signatures_in_languages_with_braces() -> None:
    steps = "".join(f"        Step{n}();\n" for n in range(40))
    text = f"""\
public class Basket
{{
    // Puts one in.
    [Audited]
    public void Add(
        Item item)
    {{
{steps}    }}

    public void Clear() {{
{steps}    }}
}}
"""
    pieces = cut("Basket.cs", text)
    assert list(pieces) == ["Basket", "Basket.Add", "Basket.Clear"]
    assert pieces["Basket"].text == (
        "public class Basket\n{\n…\n    [Audited]\n    public void Add(\n        Item item)\n…\n"
        "    public void Clear() {\n…\n}"
    )
    assert pieces["Basket.Add"].text.startswith("// Puts one in.\n[Audited]\npublic void Add(\n")
    assert pieces["Basket.Clear"].text.endswith("    Step39();\n}")


def test_decorator_on_the_same_line_belongs_to_its_method() -> None:
    fields = "  field: string;\n" * 40
    method = "  @Listen('x') onEvent(): void {\n    a();\n    b();\n  }\n"
    pieces = cut("a.ts", f"export class Page {{\n{fields}{method}}}\n")
    assert pieces["Page.onEvent"].text.startswith("@Listen('x') onEvent(): void {")


def test_alternative_stays_with_its_condition() -> None:
    choice = "    if a:\n        b()\n        c()\n    else:\n        d()\n        e()\n"
    pieces = FileCutter().cut("a.py", f"def work(a):\n{choice * 50}".encode())
    assert len(pieces) == 3
    assert all(piece.text.startswith("if a:") for piece in pieces[1:])


def test_idle_lines_beside_functions_are_no_piece() -> None:
    pieces = cut(
        "a.py",
        """\
        import logging
        logger = logging.getLogger(__name__)

        def main():
            a = 1
            print(a)

        if __name__ == "__main__":
            main()
        """,
    )
    assert list(pieces) == ["main"]


def test_small_things_stay_in_their_file() -> None:
    pieces = cut(
        "a.py", "def one():\n    return 1\n\n\nclass NotThereError(Exception):\n    pass\n"
    )
    assert [piece.kind for piece in pieces.values()] == [PieceKind.FILE]


def test_long_function_is_cut_between_statements() -> None:
    block = "    if a:\n" + "".join(
        f"        call_{{0}}(\n            {n},\n        )\n" for n in range(10)
    )
    content = "def work(a):\n" + "".join(block.format(n) for n in range(9))
    pieces = FileCutter().cut("a.py", content.encode())
    assert [piece.name for piece in pieces] == ["work", "work (2)", "work (3)"]
    assert "\n".join(content.splitlines()).count("if a:") == 9
    for piece in pieces[1:]:
        assert piece.text.startswith("if a:")
    assert sum(piece.last_line - piece.first_line + 1 for piece in pieces) == 280


def test_statement_that_is_too_long_is_cut_inside() -> None:
    rows = "".join(f'    "{n}": [{n}, {n}],\n' for n in range(500))
    pieces = FileCutter().cut("a.py", f"TABLE = {{\n{rows}}}\n".encode())
    assert len(pieces) == 5
    assert sum(piece.last_line - piece.first_line + 1 for piece in pieces) == 502


def test_overloads_have_names_of_their_own() -> None:
    body = "{\n    one();\n    two();\n  }\n"
    filler = "  int f;\n" * 40
    pieces = cut("A.java", f"class A {{\n  void m(int a) {body}  void m() {body}{filler}}}\n")
    assert [name for name in pieces if name.startswith("A.m")] == ["A.m", "A.m (2)"]


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        (
            "a.ts",
            """\
            import { x } from "./x";
            /** Loads
             * it. */
            export const load = async (id: string) => {
              const found = await x(id);
              return found;
            };
            namespace Inner {
              export function run() {
                a();
                b();
              }
            }
            export interface Order {
              id: string;
              total: number;
            }
            exports.stop = function () {
              a();
              b();
            };
            """,
            {"load": (2, 7), "run": (9, 12), "Order": (14, 17), "exports.stop": (18, 21)},
        ),
        (
            "App.tsx",
            """\
            export default function App() {
              const a = 1;
              return <div title="x">{a}</div>;
            }
            """,
            {"App": (1, 4)},
        ),
        (
            "a.js",
            """\
            // says hello
            function hello() {
              a();
              b();
            }
            """,
            {"hello": (1, 5)},
        ),
        (
            "A.cs",
            """\
            using System;
            namespace Shop.Orders;

            /// <summary>An order.</summary>
            [Serializable]
            public record Order
            {
                public int Id { get; set; }
                public int Total() => 3;
            }
            """,
            {"Order": (4, 10)},
        ),
        (
            "B.cs",
            """\
            namespace Shop
            {
                public class Basket
                {
                    public int Id { get; set; }
                }
            }
            """,
            {"B.cs": (3, 6)},
        ),
        (
            "a.go",
            """\
            package main

            // Add adds.
            func (b *Basket[T]) Add(x T) error {
                b.n++
                return nil
            }

            type Basket struct {
                n int
                m int
            }
            """,
            {"Basket.Add": (3, 7), "Basket": (9, 12)},
        ),
        (
            "A.java",
            """\
            package a.b;
            import c.D;
            /** Doc. */
            @Service
            public class Basket {
              private int n;
              private int m;
            }
            """,
            {"Basket": (3, 8)},
        ),
        (
            "deploy",
            """\
            #!/usr/bin/env bash
            # Rolls out.
            deploy() {
              build
              kubectl apply -f x
            }
            """,
            {"deploy": (2, 6)},
        ),
        (
            "main.tf",
            """\
            # Where logs go.
            resource "azurerm_storage_account" "logs" {
              name = "logs"
              tier = "Standard"
            }
            """,
            {"resource.azurerm_storage_account.logs": (1, 5)},
        ),
    ],
)
def test_each_language_has_its_names(
    path: str, text: str, names: dict[str, tuple[int, int]]
) -> None:
    pieces = cut(path, text)
    assert {name: (p.first_line, p.last_line) for name, p in pieces.items()} == names


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_marks_change_nothing(end: str, mark: bytes) -> None:
    content = mark + BASKET.replace("\n", end).encode()
    assert FileCutter().cut("basket.py", content) == FileCutter().cut("basket.py", BASKET.encode())


def test_what_parses_is_cut_out_of_a_broken_file() -> None:
    pieces = cut(
        "a.py",
        """\
        def before(a):
            b = a
            return b

        def broken(:
            ???

        def after(a):
            b = a
            return b
        """,
    )
    assert {"before", "after"} <= pieces.keys()
    assert any("???" in piece.text for piece in pieces.values())


def test_latin_1_is_read() -> None:
    content = "def gruß():\n    a = 'für'\n    return a\n".encode("latin-1")
    (piece,) = FileCutter().cut("a.py", content)
    assert (piece.name, piece.last_line) == ("gruß", 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n \n",
        b"# only\n# comments\n",
        b"a = 1\0",
        b"x = 1\n" + b"y" * 5_001,
        b"a=1\n" * 270_000,
    ],
)
def test_nothing_worth_keeping_gives_no_pieces(content: bytes) -> None:
    assert FileCutter().cut("a.py", content) == ()


@pytest.mark.parametrize(
    "path",
    [
        "uv.lock",
        "web/package-lock.json",
        "web/node_modules/a/index.js",
        ".git/config",
        "web\\dist\\app.js",
        "app.min.js",
        "orders_pb2.py",
        "sales.csv",
        "server.key",
    ],
)
def test_files_of_others_give_no_pieces(path: str) -> None:
    assert FileCutter().cut(path, b"setting = 'a value that is long enough'\n") == ()


def test_generated_code_gives_no_pieces() -> None:
    content = b"// Code generated by protoc. DO NOT EDIT.\npackage a\n\nconst Name = 12345\n"
    assert FileCutter().cut("a.go", content) == ()


@pytest.mark.parametrize(
    "path", ["../../etc/passwd.py", "/dev/zero.py", "a\n\x1b[31mb.py", ".py", ""]
)
def test_paths_are_labels_only(path: str) -> None:
    (piece,) = FileCutter().cut(path, b"setting = 'a value that is long enough'\n")
    assert piece.path == path
    assert piece.name.isprintable()


def test_lines_shared_with_something_else_stay_together() -> None:
    text = "function a() {\n  x();\n  y();\n} function b() {\n  x();\n  y();\n}\n"
    (piece,) = FileCutter().cut("a.js", text.encode())
    assert piece.kind is PieceKind.FILE
    assert piece.text == text.strip()
