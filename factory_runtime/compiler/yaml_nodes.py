"""YAML with places: bytes → Node, bounded, and with every problem it finds.

Events of libyaml's parser are put together here instead of with PyYAML's composer, because that
one recurses (a deeply nested file ends the process) and keeps two marks per node. Scalars follow
YAML 1.2's core schema: ``yes``, ``on``, ``012`` and ``2024-01-01`` are text or plain numbers, as
in JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import yaml

from factory_runtime.domain.errors import Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_PROBLEMS = 200
MAX_SIZE = 250_000
"""Nodes, aliases expanded; 64 characters of text count as one more."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_INT = 2**63


@dataclass(slots=True, eq=False)
class Node:
    """A value and where it stands: a mapping, a list, or else a scalar.

    Attributes:
        members: of a mapping, by key.
        keys: where the keys of a mapping stand, as line and column.
        size: see ``MAX_SIZE``.
        height: levels below and including this one.
    """

    line: int
    column: int
    scalar: str | int | float | bool | None = None
    items: list[Node] | None = None
    members: dict[str, Node] | None = None
    keys: dict[str, tuple[int, int]] | None = None
    size: int = 1
    height: int = 1

    def find(self, path: Iterable[str | int]) -> Node:
        """The node at that path, or the deepest one on the way to it."""
        here = self
        for part in path:
            if here.members is not None and part in here.members:
                here = here.members[str(part)]
            elif here.items is not None and isinstance(part, int) and part < len(here.items):
                here = here.items[part]
            else:
                break
        return here

    def plain(self) -> Any:
        """The value without places, fresh lists and dicts all the way down."""
        if self.members is not None:
            return {key: node.plain() for key, node in self.members.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.scalar


def read_yaml(
    body: bytes, file: str, *, number_keys: bool = False
) -> tuple[Node | None, list[Problem]]:
    """The one document in ``body``. The node is None where there is nothing to go on with.

    With ``number_keys``, a key that is a number counts as text, like the ``200:`` of an answer.
    """
    if len(body) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB"
        return None, [Problem(file, 1, 1, "too-large", message, "move data out into files")]
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        message = "the file starts with a byte order mark"
        return None, [Problem(file, 1, 1, "yaml-encoding", message, "save it as plain UTF-8")]
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        column = error.start - body.rfind(b"\n", 0, error.start)
        message = "the file is not UTF-8 text"
        return None, [Problem(file, line, column, "yaml-encoding", message, "save it as UTF-8")]
    builder = _Builder(file, number_keys)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except _StopError:
        return None, builder.problems
    except yaml.YAMLError as error:
        return None, [*builder.problems, _syntax_problem(file, text, error)]
    return builder.root, builder.problems


class _StopError(Exception):
    """Going on would cost too much; the problem is noted."""


@dataclass(slots=True)
class _Open:
    """A list or mapping that has not ended."""

    node: Node
    anchor: str | None
    key: str | None = None
    expects_value: bool = False


class _Builder:
    """Puts events together; knows its open lists and mappings, and what anchors name."""

    def __init__(self, file: str, number_keys: bool) -> None:
        self.file = file
        self._number_keys = number_keys
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._take_alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(event, "yaml-syntax", "the file holds more than one document", None)

    def _start(self, event: Any) -> None:
        self._check_tag(event)
        node = Node(*_place_of(event))
        if isinstance(event, yaml.MappingStartEvent):
            node.members, node.keys = {}, {}
        else:
            node.items = []
        if len(self._open) >= MAX_DEPTH:
            self._stop(event, "too-deep", f"nested deeper than {MAX_DEPTH} levels", None)
        self._open.append(_Open(node, event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        self._place(done.node, done.anchor)

    def _take_scalar(self, event: Any) -> None:
        self._check_tag(event)
        text: str = event.value
        plain: bool = event.implicit[0]
        node = Node(*_place_of(event), self._resolve(text, event) if plain else text)
        node.size += len(text) // 64
        self._place(node, event.anchor)

    def _take_alias(self, event: Any) -> None:
        target = self._anchors.get(event.anchor)
        if target is None:
            hint = "an alias cannot stand inside the value that it names"
            self._problem(event, "yaml-alias", f"*{event.anchor} names no finished value", hint)
            target = Node(*_place_of(event))
        elif len(self._open) + target.height > MAX_DEPTH:
            self._stop(event, "too-deep", f"nested deeper than {MAX_DEPTH} levels", None)
        self._place(target, None, event)

    def _place(self, node: Node, anchor: str | None, event: Any = None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if parent.node.items is not None:
            parent.node.items.append(node)
        elif parent.expects_value:
            parent.expects_value = False
            if parent.key is not None and parent.node.members is not None:
                parent.node.members[parent.key] = node
        else:
            parent.expects_value = True
            parent.key = self._key(parent.node, node, event)
        self._grow(parent.node, node)

    def _grow(self, parent: Node, child: Node) -> None:
        parent.size += child.size
        parent.height = max(parent.height, child.height + 1)
        if parent.size > MAX_SIZE:
            message = "the file grows too large once its aliases are expanded"
            self.problems.append(Problem(self.file, child.line, child.column, "too-large", message))
            raise _StopError

    def _key(self, parent: Node, node: Node, event: Any) -> str | None:
        line, column = (node.line, node.column) if event is None else _place_of(event)
        key = node.scalar
        if self._number_keys and type(key) is int:
            key = str(key)
        if not isinstance(key, str):
            is_scalar = node.items is None and node.members is None
            hint = "put it in quotes" if is_scalar else None
            self._add(Problem(self.file, line, column, "yaml-key", "a key must be text", hint))
            return None
        keys = cast("dict[str, tuple[int, int]]", parent.keys)
        if key in keys:
            message = f"the key {key!r} stands here twice"
            hint = f"the first is in line {keys[key][0]}"
            self._add(Problem(self.file, line, column, "duplicate-key", message, hint))
            return None
        keys[key] = (line, column)
        return key

    def _resolve(self, text: str, event: Any) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            number = int(text, 0 if text[:2] in {"0o", "0x"} else 10) if len(text) < 25 else None
            if number is not None and abs(number) < _MAX_INT:
                return number
            self._problem(event, "bad-value", "the number is too large", "put it in quotes")
            return 0
        if _FLOAT.fullmatch(text):
            value = float(text)
            if math.isfinite(value):
                return value
        elif not _NOT_FINITE.fullmatch(text):
            return text
        self._problem(event, "bad-value", f"{text[:40]} is no finite number", "put it in quotes")
        return 0

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None:
            hint = "leave it out; put text in quotes"
            self._problem(event, "yaml-tag", f"the tag {event.tag!r} is not allowed", hint)

    def _problem(self, event: Any, code: str, message: str, hint: str | None) -> None:
        line, column = _place_of(event)
        self._add(Problem(self.file, line, column, code, message, hint))

    def _add(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            raise _StopError

    def _stop(self, event: Any, code: str, message: str, hint: str | None) -> None:
        self._problem(event, code, message, hint)
        raise _StopError


def _place_of(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _syntax_problem(file: str, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        line, column = mark.line + 1, mark.column + 1
        at_mark = _character(text, mark.line, mark.column)
        hint = "YAML indents with spaces, not tabs" if at_mark == "\t" else error.context
        return Problem(file, line, column, "yaml-syntax", error.problem or str(error), hint)
    # A reader error counts characters; it comes from control characters and lone surrogates.
    offset = next((i for i, c in enumerate(text) if not _is_printable(c)), 0)
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    message = f"the character {text[offset : offset + 1]!r} cannot stand in YAML"
    return Problem(file, line, column, "yaml-syntax", message, "is this a text file?")


def _character(text: str, line: int, column: int) -> str:
    lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)
    return lines[line][column : column + 1] if line < len(lines) else ""


def _is_printable(character: str) -> bool:
    return character in "\t\n\r\x85" or (
        " " <= character <= "~"
        or "\xa0" <= character <= "\ud7ff"
        or ("\ue000" <= character <= "\ufffd" and character != "\ufeff")
        or character >= "\U00010000"
    )
