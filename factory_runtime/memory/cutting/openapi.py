"""Descriptions of APIs: a piece for each operation, and for each schema that says what it is."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any, cast

from factory_runtime.compiler.yaml_nodes import Node, read_yaml
from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.openapi_text import ApiText
from factory_runtime.memory.cutting.source import SourceFile

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_TELLS = re.compile(r"""(?:^|[{,\s"'])(?:openapi|swagger)["']?\s*:""")
_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_MAX_NAME = 200
LANGUAGE = "openapi"


def cut_openapi(source: SourceFile) -> list[Piece] | None:
    """None where it describes no API, or cannot be read as YAML or JSON within bounds."""
    if not any(_TELLS.search(line) for line in source.lines):
        return None
    body = "\n".join(source.lines)
    if source.language == "json":
        # YAML knows no pairs of escapes for one character.
        body = _PAIR.sub(_escape, body)
    root, _ = read_yaml(body.encode(), source.path, number_keys=True)
    if root is None or root.members is None or not {"openapi", "swagger"} & root.members.keys():
        return None
    described = _Described(source, root)
    return [*described.operations(), *described.schemas()] or None


class _Described:
    """One API: its nodes, for the lines, and its plain values, for the text."""

    def __init__(self, source: SourceFile, root: Node) -> None:
        self._source = source
        self._root = root
        self._plain = cast("dict[str, Any]", root.plain())
        self._text = ApiText(self._plain)
        self._starts = sorted(_starts(root))

    def operations(self) -> Iterator[Piece]:
        paths = self._root.find(["paths"])
        for path in (paths.keys or {}) if paths is not self._root else {}:
            item = self._text.resolve(self._plain["paths"].get(path))
            for method in _METHODS:
                operation = item.get(method)
                if not isinstance(operation, Mapping):
                    continue
                name = f"{method.upper()} {path}"
                line = _line_of(self._root, ("paths", path, method))
                shared = item.get("parameters")
                operation = cast("Mapping[str, Any]", operation)
                text = self._text.of_operation(name, operation, shared)
                yield self._piece(PieceKind.OPERATION, name, line, text)

    def schemas(self) -> Iterator[Piece]:
        for way in (("components", "schemas"), ("definitions",)):
            for name in self._text.at(way):
                schema = self._text.at((*way, name))
                if self._text.describes(schema):
                    text = self._text.of_schema(name, schema)
                    yield self._piece(
                        PieceKind.CLASS, name, _line_of(self._root, (*way, name)), text
                    )

    def _piece(self, kind: PieceKind, name: str, line: int, text: str) -> Piece:
        after = bisect_right(self._starts, line)
        last = self._starts[after] - 1 if after < len(self._starts) else len(self._source.lines)
        while last > line and not self._source.line(last).strip():
            last -= 1
        return Piece(self._source.path, kind, name[:_MAX_NAME], LANGUAGE, line, last, text)


def _starts(root: Node) -> Iterator[int]:
    """The lines at which something of its own begins."""
    holders = [root]
    for key in ("paths", "components", "definitions"):
        holder = (root.members or {}).get(key)
        if holder is not None:
            holders.append(holder)
            if key != "definitions":
                holders.extend((holder.members or {}).values())
    for holder in holders:
        yield from (line for line, _ in (holder.keys or {}).values())


def _line_of(root: Node, way: tuple[str, ...]) -> int:
    """Of the last key on the way that stands there; what is referred to stands elsewhere."""
    here, line = root, 1
    for key in way:
        if key not in (here.keys or {}):
            break
        line = (here.keys or {})[key][0]
        here = (here.members or {}).get(key, here)
    return line


def _escape(pair: re.Match[str]) -> str:
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"
