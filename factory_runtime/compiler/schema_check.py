"""Checks the JSON Schema of a template's inputs where it stands in the file."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator

from factory_runtime.compiler.explain import shown
from factory_runtime.compiler.findings import Findings, did_you_mean
from factory_runtime.compiler.schema import (
    Path,
    close_schema,
    local_target,
    subschemas,
    to_python_pattern,
    validator_for,
)
from factory_runtime.compiler.yaml_nodes import Node

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NOTES = "title description default examples readOnly writeOnly deprecated $defs $schema $comment"
_DRAFT = cast("Any", Draft202012Validator)
_KEYWORDS = frozenset({*_DRAFT.VALIDATORS, *_NOTES.split(), "then", "else", "format"})
# Names that calling a Prefect flow takes for itself.
_TAKEN = frozenset({"wait_for", "return_state"})
_ELSEWHERE = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$vocabulary")


def check_inputs_schema(node: Node | None, findings: Findings) -> dict[str, Any]:
    """The schema, closed; every problem is noted at its place.

    A template without ``inputs`` takes none. In place of a schema that is none stands an open one,
    so that nothing is said about what reads the inputs.
    """
    if node is None:
        return close_schema({"type": "object", "properties": {}})
    if node.members is None:
        findings.add(node, "schema", "inputs must be a JSON Schema", "type: object, properties: …")
        return {"type": "object"}
    schema: dict[str, Any] = {"properties": {}, **node.plain()}
    if schema.setdefault("type", "object") != "object":
        findings.add(node.find(["type"]), "schema", "the type of inputs must be object")
    if not _follows_metaschema(node, schema, findings):
        return {"type": "object"}
    in_order = _check_keywords(node, schema, findings)
    _check_names(node, schema, findings)
    closed = close_schema(schema)
    if in_order:
        _check_defaults(node, closed, findings)
    return closed


def check_schema(node: Node, schema: Mapping[str, Any], findings: Findings) -> bool:
    """Whether a schema that stands at ``node`` can be used; every problem is noted at its place."""
    return _follows_metaschema(node, schema, findings) and _check_keywords(node, schema, findings)


def _check_keywords(node: Node, schema: Mapping[str, Any], findings: Findings) -> bool:
    checker = _Checker(node, schema, findings)
    for path, inner in subschemas(schema):
        checker.check(path, inner)
    return not checker.failed


def _follows_metaschema(node: Node, schema: Mapping[str, Any], findings: Findings) -> bool:
    metaschema = _DRAFT.META_SCHEMA
    good = True
    for error in validator_for(metaschema).iter_errors(schema):
        good = False
        path = tuple(error.absolute_path)
        where = ".".join(str(part) for part in path) or "inputs"
        findings.add(node.find(path), "schema", f"{where}: {error.message[:200]}")
    return good


class _Checker:
    """What the metaschema does not say: references, patterns, misspelt keywords."""

    def __init__(self, node: Node, schema: Mapping[str, Any], findings: Findings) -> None:
        self._node = node
        self._schema = schema
        self._findings = findings
        self.failed = False

    def check(self, path: Path, schema: Mapping[str, Any]) -> None:
        here = self._node.find(path)
        for key in schema:
            place = (here.keys or {}).get(key, (here.line, here.column))
            if key in _ELSEWHERE:
                self._fail(place, f"{key} is not supported", "use $defs and a local $ref")
            elif key not in _KEYWORDS:
                hint = did_you_mean(key, sorted(_KEYWORDS))
                if hint.startswith("did you mean"):
                    self._fail(place, f"JSON Schema has no keyword {key!r}", hint)
        if schema.get("$schema", DRAFT).rstrip("#") != DRAFT:
            self._fail(here.find(["$schema"]), "inputs follow JSON Schema 2020-12", DRAFT)
        if "$ref" in schema:
            self._check_reference(here.find(["$ref"]), schema["$ref"])
        for pattern in (schema.get("pattern"), *schema.get("patternProperties", ())):
            self._check_pattern(here.find(["pattern"]), pattern)

    def _check_reference(self, place: Node, reference: str) -> None:
        if not reference.startswith("#"):
            self._fail(place, f"$ref {reference!r} leaves the file", "like #/$defs/name")
            return
        seen: set[str] = set()
        target: Any = {"$ref": reference}
        while isinstance(target, Mapping) and "$ref" in target:
            link = cast("Mapping[str, str]", target)["$ref"]
            if link in seen:
                self._fail(place, f"$ref {reference!r} refers to itself without end", None)
                return
            seen.add(link)
            target = local_target(self._schema, link)
        if not isinstance(target, Mapping | bool):
            self._fail(place, f"$ref {reference!r} names nothing here", "like #/$defs/name")

    def _check_pattern(self, place: Node, pattern: Any) -> None:
        try:
            re.compile(to_python_pattern(pattern or ""))
        except (re.error, RecursionError, OverflowError) as error:
            self._fail(place, f"{shown(pattern)} is not a regular expression: {error}", None)

    def _fail(self, place: Node | tuple[int, int], message: str, hint: str | None) -> None:
        self.failed = True
        self._findings.add(place, "schema", message, hint)


def _check_names(node: Node, schema: Mapping[str, Any], findings: Findings) -> None:
    properties = (node.members or {}).get("properties")
    for name, place in ((properties and properties.keys) or {}).items():
        # Inputs are parameters of the template's flow, and expressions read them by name.
        bad = not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_")
        if bad or name in _TAKEN:
            hint = (
                "letters, digits and underscores, a letter first, no word of Python's or Prefect's"
            )
            findings.add(place, "bad-value", f"an input cannot be called {name!r}", hint)
    for number, name in enumerate(schema.get("required", ())):
        if name not in schema.get("properties", {}):
            place = node.find(["required", number])
            hint = did_you_mean(name, schema.get("properties", {}))
            findings.add(place, "schema", f"required names {name!r}, which is no property", hint)


def _check_defaults(node: Node, schema: Mapping[str, Any], findings: Findings) -> None:
    whole = cast("Any", validator_for(schema))
    for path, inner in subschemas(schema):
        if "default" not in inner:
            continue
        try:
            error = next(whole.evolve(schema=inner).iter_errors(inner["default"]), None)
        except RecursionError:
            continue
        if error is not None:
            place = node.find((*path, "default"))
            findings.add(place, "schema", f"the default does not fit: {error.message[:200]}")
