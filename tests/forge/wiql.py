"""The part of the work item query language that the forge knows.

https://learn.microsoft.com/azure/devops/boards/queries/wiql-syntax: ``SELECT … FROM WorkItems
WHERE … AND … ORDER BY …``, with conditions of ``[field] operator value``. Whatever else it is
asked for is none of the forge's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_QUERY = re.compile(
    r"\s*SELECT\s+(?P<fields>\[[\w.]+\](?:\s*,\s*\[[\w.]+\])*)\s+FROM\s+WorkItems"
    r"(?:\s+WHERE\s+(?P<where>.+?))?(?:\s+ORDER\s+BY\s+\[[\w.]+\](?:\s+(?:ASC|DESC))?)?\s*",
    re.IGNORECASE | re.DOTALL,
)
_CONDITION = re.compile(
    r"\s*\[(?P<field>[\w.]+)\]\s*(?P<operator>=|<>|NOT\s+CONTAINS|CONTAINS)\s*"
    r"(?P<value>'(?:[^']|'')*'|@project|\d+)\s*(?P<and>AND\b)?",
    re.IGNORECASE,
)
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda has, wanted: has == wanted,
    "<>": lambda has, wanted: has != wanted,
    "CONTAINS": lambda has, wanted: wanted in has,
    "NOT CONTAINS": lambda has, wanted: wanted not in has,
}


class UnknownQueryError(Exception):
    """A query that the forge cannot read."""


def condition(query: str, project: str) -> tuple[list[str], Callable[[dict[str, Any]], bool]]:
    """The fields that it selects, and whether a work item with these fields is found.

    Raises:
        UnknownQueryError: it says more than the forge knows.
    """
    found = _QUERY.fullmatch(query)
    if found is None:
        raise UnknownQueryError(query)
    conditions: list[tuple[str, str, str]] = []
    rest = found["where"] or ""
    while rest.strip():
        one = _CONDITION.match(rest)
        if one is None or bool(one["and"]) != bool(rest[one.end() :].strip()):
            raise UnknownQueryError(query)
        value = project if one["value"].lower() == "@project" else one["value"]
        if value.startswith("'"):
            value = value[1:-1].replace("''", "'")
        operator = " ".join(one["operator"].upper().split())
        conditions.append((one["field"], operator, value.casefold()))
        rest = rest[one.end() :]
    fields = re.findall(r"\[([\w.]+)\]", found["fields"])

    def matches(item: dict[str, Any]) -> bool:
        return all(
            _OPERATORS[operator](str(item.get(field, "")).casefold(), value)
            for field, operator, value in conditions
        )

    return fields, matches
