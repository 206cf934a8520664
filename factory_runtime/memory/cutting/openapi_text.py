"""An operation or a schema of an API, written out to be read and found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast
from urllib.parse import unquote

from factory_runtime.memory.cutting.parts import LARGEST

_MAX_HOPS = 8
_MAX_DEPTH = 3
"""Of fields in fields: deeper ones are named by their type only, so cycles end here."""
_MAX_FIELDS = 60
_MAX_VALUES = 12
_MAX_TYPES = 2
"""Of types in types."""
_LONG, _SHORT = 2_000, 300
"""Characters of a description, and of a remark."""

_Mapping = Mapping[str, Any]
_NOTHING: _Mapping = {}


class ApiText:
    """Writes parts of one API; follows its references to itself, and to nowhere else."""

    def __init__(self, root: _Mapping) -> None:
        self._root = root

    def at(self, way: Sequence[str]) -> _Mapping:
        """The mapping there; an empty one where there is none."""
        here: object = self._root
        for key in way:
            here = _mapping(here).get(key)
        return _mapping(here)

    def resolve(self, value: object) -> _Mapping:
        """What it refers to, through a few references; empty where that leads nowhere."""
        here = _mapping(value)
        for _ in range(_MAX_HOPS):
            reference = here.get("$ref")
            if not isinstance(reference, str):
                return here
            if not reference.startswith("#/"):
                return _NOTHING
            parts = unquote(reference[2:]).split("/")
            here = self.at([part.replace("~1", "/").replace("~0", "~") for part in parts])
        return _NOTHING

    def describes(self, schema: _Mapping) -> bool:
        """Whether it says in words what it is."""
        return bool(_words(schema.get("description")))

    def of_operation(self, name: str, operation: _Mapping, shared: object) -> str:
        """``shared`` are the parameters of its path."""
        parameters = list(self._parameters(shared, operation.get("parameters")))
        bodies = [p for p in parameters if p.get("in") == "body"]
        plain = [p for p in parameters if p.get("in") != "body"]
        body = self.resolve(operation.get("requestBody"))
        return _written(
            [
                _joined(name, _words(operation.get("summary"))),
                _words(operation.get("description"), _LONG),
                _listed("Tags", _texts(operation.get("tags"))),
                _listed("Operation", _texts([operation.get("operationId")])),
                *_section("Parameters:", map(self._parameter, plain)),
                *self._body(body),
                *(
                    line
                    for p in bodies
                    for line in self._content("", p, _words(p.get("description")))
                ),
                *_section("Responses:", self._responses(operation.get("responses"))),
            ]
        )

    def of_schema(self, name: str, schema: _Mapping) -> str:
        return _written(
            [
                _joined(name, _words(schema.get("description"), _LONG)),
                _listed("Values", _texts(schema.get("enum"))),
                *_section("Fields:", self._fields(schema)),
            ]
        )

    def _parameters(self, *lists: object) -> Iterable[_Mapping]:
        """Those of the operation stand in place of its path's of the same name."""
        found: dict[tuple[str, str], _Mapping] = {}
        for value in lists:
            for parameter in map(self.resolve, _items(value)):
                found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
        return found.values()

    def _parameter(self, parameter: _Mapping) -> str:
        schema = parameter.get("schema") or parameter
        remarks = [str(parameter.get("in", "")), self._type(schema)]
        if parameter.get("required") is True:
            remarks.append("required")
        title = f"  {_words(parameter.get('name'))} ({', '.join(filter(None, remarks))})"
        return _joined(title, _words(parameter.get("description")))

    def _body(self, body: _Mapping) -> Iterator[str]:
        said = _words(body.get("description"))
        for media, content in _mapping(body.get("content")).items():
            yield from self._content(f" ({media})", _mapping(content), said)

    def _content(self, media: str, content: _Mapping, said: str) -> Iterator[str]:
        schema = content.get("schema")
        yield _joined(f"Request body{media}, {self._type(schema)}", said)
        yield from self._fields(schema)

    def _responses(self, responses: object) -> Iterator[str]:
        for status, value in _mapping(responses).items():
            response = self.resolve(value)
            contents = [_mapping(c) for c in _mapping(response.get("content")).values()]
            schemas = [c["schema"] for c in [response, *contents] if "schema" in c]
            types = ", ".join(dict.fromkeys(map(self._type, schemas)))
            title = f"  {status} ({types})" if types else f"  {status}"
            yield _joined(title, _words(response.get("description")))

    def _fields(self, schema: object) -> Iterator[str]:
        return islice(self._all_fields(schema, 1), _MAX_FIELDS)

    def _all_fields(self, value: object, depth: int) -> Iterator[str]:
        schema = self.resolve(value)
        if schema.get("items") is not None:
            schema = self.resolve(schema["items"])
        # Generators end with the first few lines that are asked for, so width costs nothing.
        for part in _items(schema.get("allOf"))[:_MAX_VALUES]:
            if depth <= _MAX_DEPTH:
                yield from self._all_fields(part, depth + 1)
        required = {name for name in _items(schema.get("required")) if isinstance(name, str)}
        for name, field in _mapping(schema.get("properties")).items():
            mark = ", required" if name in required else ""
            said = _words(self.resolve(field).get("description"))
            yield _joined("  " * depth + f"{name} ({self._type(field)}{mark})", said)
            if depth < _MAX_DEPTH:
                yield from self._all_fields(field, depth + 1)

    def _type(self, value: object, depth: int = 0) -> str:
        schema = _mapping(value)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return _words(reference.rsplit("/", 1)[-1])
        for key, joint in (("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")):
            if (several := _items(schema.get(key))) and depth < _MAX_TYPES:
                return joint.join(self._type(one, depth + 1) for one in several[:_MAX_VALUES])
        if schema.get("items") is not None and depth < _MAX_TYPES:
            return f"list of {self._type(schema['items'], depth + 1)}"
        if values := _texts(schema.get("enum")):
            return "one of " + ", ".join(values)
        kinds = _texts(schema.get("type")) or _texts([schema.get("type")])
        return " ".join(filter(None, [" or ".join(kinds) or "any", _words(schema.get("format"))]))


def _mapping(value: object) -> _Mapping:
    return cast("_Mapping", value) if isinstance(value, Mapping) else _NOTHING


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [word for item in _items(value)[:_MAX_VALUES] if (word := _words(item))]


def _words(value: object, most: int = _SHORT) -> str:
    if value is None or isinstance(value, Mapping | list):
        return ""
    words = " ".join(str(value)[: 2 * most].split())
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def _joined(title: str, said: str) -> str:
    return f"{title}: {said}" if said else title


def _listed(title: str, words: Sequence[str]) -> str:
    return f"{title}: {', '.join(words)}" if words else ""


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    for place, line in enumerate(islice(lines, _MAX_FIELDS)):
        if place == 0:
            yield title
        yield line


def _written(lines: Iterable[str]) -> str:
    text = "\n".join(line for line in lines if line)
    if len(text) <= LARGEST.characters:
        return text
    return text[: LARGEST.characters - 1].rsplit("\n", 1)[0] + "…"
