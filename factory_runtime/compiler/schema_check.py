"""Checks the JSON Schema of a template's inputs where it stands in the file."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema_rs import meta

from factory_runtime.compiler.explain import shown
from factory_runtime.compiler.findings import Findings, did_you_mean
from factory_runtime.compiler.patterns import PatternError, read_pattern
from factory_runtime.compiler.schema import (
    Path,
    close_schema,
    local_target,
    parts_of,
    subschemas,
)
from factory_runtime.compiler.validation import validator_for
from factory_runtime.compiler.work import EndlessError, Work, one_work
from factory_runtime.compiler.yaml_nodes import Node

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NOTES = "title description default examples readOnly writeOnly deprecated $defs $schema $comment"
_DRAFT = cast("Any", Draft202012Validator)
_KEYWORDS = frozenset({*_DRAFT.VALIDATORS, *_NOTES.split(), "then", "else", "format"})
# Names that calling a Prefect flow takes for itself.
_TAKEN = frozenset({"wait_for", "return_state"})
MAX_SCHEMAS = 5_000
"""Schemas inside a schema, those that are referred to counted wherever they are."""
MAX_VALUES = 50_000
"""Values in a schema, 64 characters of text as one more."""
_ALIKE = 300  # steps of looking for a keyword that is like another
MAX_PATTERNS = 32 * 1024 * 1024
"""Bytes that all patterns of a schema hold."""
_OF_A_BAD_ONE = MAX_PATTERNS // 8  # finding out why takes up to half a second
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
    if not _is_of_a_size(node, schema, findings) or not _follows_metaschema(node, schema, findings):
        return {"type": "object"}
    in_order = _check_keywords(node, schema, findings)
    _check_names(node, schema, findings)
    closed = close_schema(schema)
    if in_order:
        _check_defaults(node, closed, findings)
    return closed


def check_schema(node: Node, schema: Mapping[str, Any], findings: Findings) -> bool:
    """Whether a schema that stands at ``node`` can be used; every problem is noted at its place."""
    return (
        _is_of_a_size(node, schema, findings)
        and _follows_metaschema(node, schema, findings)
        and _check_keywords(node, schema, findings)
    )


def _is_of_a_size(node: Node, schema: Mapping[str, Any], findings: Findings) -> bool:
    if Work().size_of(schema) <= MAX_VALUES:
        return True
    findings.add(node, "too-large", f"the schema holds more than {MAX_VALUES} values")
    return False


def _check_keywords(node: Node, schema: Mapping[str, Any], findings: Findings) -> bool:
    checker = _Checker(node, schema, findings)
    try:
        for path, inner in subschemas(schema):
            checker.check(path, inner)
    except EndlessError:
        findings.add(node, "too-large", "the schema is too large to be checked")
        return False
    if not checker.failed and _unrolled(schema) > MAX_SCHEMAS:
        message = f"the schema comes to more than {MAX_SCHEMAS}, each $ref written out"
        findings.add(node, "too-large", message, "let fewer schemas refer to each other")
        return False
    return not checker.failed


def _unrolled(root: Mapping[str, Any]) -> int:
    """How many schemas there are, each ``$ref`` written out but where it leads back to itself."""
    known: dict[int, int] = {}

    def count(schema: Any) -> int:
        if not isinstance(schema, Mapping):
            return 1
        here = cast("Mapping[str, Any]", schema)
        if id(here) not in known:
            known[id(here)] = 1
            target = local_target(root, here["$ref"]) if "$ref" in here else None
            known[id(here)] = 1 + sum(count(one) for one in (*parts_of(here), target))
        return known[id(here)]

    try:
        return count(root)
    except RecursionError:  # a chain of references
        return MAX_SCHEMAS + 1


def _follows_metaschema(node: Node, schema: Mapping[str, Any], findings: Findings) -> bool:
    metaschema = _DRAFT.META_SCHEMA
    # Rust's validator says a hundred times sooner that all is well; ours says what is wrong, where.
    if isinstance(schema.get("$schema", DRAFT), str) and meta.is_valid(
        {**schema, "$schema": DRAFT}
    ):
        return True
    good = True
    try:
        errors = validator_for(metaschema).iter_errors(schema)
    except EndlessError:
        findings.add(node, "too-large", "the schema is too large to be checked")
        return False
    for error in errors:
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
        self._patterns: dict[str, int] = {}
        self._work = Work()
        self.failed = False

    def check(self, path: Path, schema: Mapping[str, Any]) -> None:
        here = self._node.find(path)
        for key in schema:
            place = (here.keys or {}).get(key, (here.line, here.column))
            if key in _ELSEWHERE:
                self._fail(place, f"{key} is not supported", "use $defs and a local $ref")
            elif key not in _KEYWORDS:
                self._work.charge(_ALIKE)
                hint = did_you_mean(key, sorted(_KEYWORDS))
                if hint.startswith("did you mean"):
                    self._fail(place, f"JSON Schema has no keyword {key!r}", hint)
        if schema.get("$schema", DRAFT).rstrip("#") != DRAFT:
            self._fail(here.find(["$schema"]), "inputs follow JSON Schema 2020-12", DRAFT)
        if "$ref" in schema:
            self._check_reference(here.find(["$ref"]), schema["$ref"])
        if "pattern" in schema:
            self._check_pattern(here.find(["pattern"]), schema["pattern"])
        for pattern in schema.get("patternProperties", ()):
            place = here.find(["patternProperties"])
            self._check_pattern((place.keys or {}).get(pattern, place), pattern)

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
            self._work.charge(1)
            target = local_target(self._schema, link)
        if not isinstance(target, Mapping | bool):
            self._fail(place, f"$ref {reference!r} names nothing here", "like #/$defs/name")

    def _check_pattern(self, place: Node | tuple[int, int], pattern: str) -> None:
        if pattern in self._patterns or sum(self._patterns.values()) > MAX_PATTERNS:
            return
        try:
            self._patterns[pattern] = read_pattern(pattern).size
        except PatternError as error:
            self._patterns[pattern] = _OF_A_BAD_ONE
            self._fail(place, f"the pattern {shown(pattern)} {error}", error.hint)
        if sum(self._patterns.values()) > MAX_PATTERNS:
            self._fail(place, "the patterns up to this one are too large together", None)

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
    whole = validator_for(schema)
    with one_work():
        for path, inner in subschemas(schema):
            if "default" not in inner:
                continue
            place = node.find((*path, "default"))
            try:
                error = next(whole.of_part(inner).iter_errors(inner["default"]), None)
            except EndlessError:
                findings.add(
                    place, "too-large", "the defaults up to this one take too much to check"
                )
                return
            except RecursionError:
                continue
            if error is not None:
                message = f"the default does not fit: {error.message[:200]}"
                findings.add(place, "schema", message)
