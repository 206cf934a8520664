"""What a node of a syntax tree is: its lines, its name, where its body begins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from factory_runtime.memory.cutting.grammars import Grammar
from factory_runtime.memory.cutting.parts import indentation

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

_RECEIVER = re.compile(r"(\w+)\s*(?:\[[^]]*\])?\s*\)$")
_MAX_WRAPPERS = 6
_MAX_NAME = 160
_INNER = ("definition", "declaration", "value", "right")
_NAMES = ("name", "property", "left")


def first_line(node: Node) -> int:
    """Counted from 1."""
    return node.start_point.row + 1


def last_line(node: Node) -> int:
    """Of a node that ends with its line's end, that line."""
    end = node.end_point
    return end.row if end.column == 0 and end.row > node.start_point.row else end.row + 1


def is_comment(node: Node) -> bool:
    """Whatever its language calls it."""
    return "comment" in node.type


def definition_in(grammar: Grammar, node: Node) -> tuple[Node, str] | None:
    """The function, class, block or shell that a node is or wraps, and its name."""
    outer = ""
    cut_out = grammar.functions | grammar.classes | grammar.blocks | grammar.shells
    here: Node | None = node
    for _ in range(_MAX_WRAPPERS):
        if here is None:
            break
        if here.type in cut_out:
            return here, outer or _name_of(grammar, here)
        if here.type not in grammar.wrappers:
            break
        outer = outer or _field_text(here, _NAMES)
        here = _wrapped(here)
    return None


def body_of(node: Node) -> Node | None:
    """What stands in braces or is indented; None where there is no such thing."""
    return node.child_by_field_name("body") or node.child_by_field_name("accessors")


def header_end(definition: Node) -> int:
    """The last line of what stands before the body."""
    body = body_of(definition)
    before = body.prev_sibling if body is not None else None
    while before is not None and is_comment(before):
        before = before.prev_sibling
    return first_line(definition) if before is None else last_line(before)


def is_braced(body: Node) -> bool:
    """Whether the body has lines of its own, those of its braces."""
    return body.child_count > 0 and body.child(0).type == "{"


def borders_of(tree: Tree, lines: Sequence[str]) -> Mapping[int, int]:
    """The lines with which a node begins, by indentation; a comment goes with what it is about."""
    starts: set[int] = set()
    comment_ends: set[int] = set()
    cursor = tree.walk()
    going = True
    while going:
        node = cursor.node
        if node is not None and node.is_named:
            row, column = node.start_point
            bare = lines[row].lstrip(" \t")
            if column == len(lines[row]) - len(bare) and not node.type.endswith("_clause"):
                starts.add(row + 1)
                if is_comment(node):
                    comment_ends.add(last_line(node))
        is_inside = node is not None and ("string" in node.type or is_comment(node))
        going = not is_inside and cursor.goto_first_child()
        while not going and not (going := cursor.goto_next_sibling()):
            if not cursor.goto_parent():
                break
    return {n: indentation(lines[n - 1]) for n in starts if n - 1 not in comment_ends}


def _wrapped(node: Node) -> Node | None:
    for field in _INNER:
        if (inner := node.child_by_field_name(field)) is not None:
            return inner
    inside = [child for child in node.named_children if not is_comment(child)]
    return inside[0] if len(inside) == 1 else None


def _name_of(grammar: Grammar, node: Node) -> str:
    if node.type in grammar.blocks:
        labels = [c for c in node.named_children if c.type in {"identifier", "string_lit"}]
        return _short(".".join(_text(label).strip('"') for label in labels))
    name = _field_text(node, ("name",))
    receiver = node.child_by_field_name("receiver")
    if receiver is not None and (found := _RECEIVER.search(_text(receiver)[-_MAX_NAME:])):
        return f"{found[1]}.{name}"
    if node.type == "destructor_declaration":
        return f"~{name}"
    if node.type == "indexer_declaration":
        return "this[]"
    if node.type in {"operator_declaration", "conversion_operator_declaration"}:
        return "operator " + _field_text(node, ("operator", "type"))
    return name or "default"


def _field_text(node: Node, fields: Sequence[str]) -> str:
    for field in fields:
        if (found := node.child_by_field_name(field)) is not None:
            return _short(_text(found))
    return ""


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def _short(text: str) -> str:
    return " ".join(text.split())[:_MAX_NAME]
