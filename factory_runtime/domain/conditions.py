"""Conditions on memories: what a filter that somebody typed means, as a tree.

A column is empty where it has no value, or an empty text. What is empty equals nothing, is unequal
to everything, and stands neither before nor after anything: every condition is true or false, and
``Not`` is always the other one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, assert_never

from factory_runtime.domain.artifact import Classification
from factory_runtime.domain.memory import Memory

TEXT_COLUMNS = frozenset(
    {
        "kind",
        "project_id",
        "module_id",
        "run_id",
        "step",
        "template_id",
        "template_version",
        "outcome",
        "path",
        "commit",
        "classification",
    }
)
"""What is compared with texts, by code points."""

TIME_COLUMNS = frozenset({"created_at", "changed_at"})
"""What is compared with moments."""


class Comparison(StrEnum):
    """How a column is compared with a value."""

    EQUAL = "="
    UNEQUAL = "<>"
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


Value = str | datetime


@dataclass(frozen=True, slots=True)
class Compare:
    """A column beside a value of its kind, which is not empty."""

    column: str
    by: Comparison
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """A column that has one of the values."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """A column without a value."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """What the condition is not true of."""

    of: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    """What all of them are true of."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """What one of them is true of."""

    of: tuple[Condition, ...]


Condition = Compare | OneOf | IsEmpty | Not | AllOf | AnyOf


def open_to(projects: tuple[str, ...] | None) -> Condition | None:
    """What may be shown to who sees what is confidential in these projects alone; None is in all."""
    if projects is None:
        return None
    is_open = Compare("classification", Comparison.UNEQUAL, Classification.CONFIDENTIAL.value)
    return AnyOf((is_open, OneOf("project_id", projects)))


def matches(condition: Condition, memory: Memory) -> bool:
    """Whether it is true of the memory: what every index has to agree with."""
    match condition:
        case Compare(column, by, value):
            return _holds(getattr(memory, column), by, value)
        case OneOf(column, values):
            return getattr(memory, column) in {value for value in values if value != ""}
        case IsEmpty(column):
            return getattr(memory, column) in (None, "")
        case Not(of):
            return not matches(of, memory)
        case AllOf(of):
            return all(matches(one, memory) for one in of)
        case AnyOf(of):
            return any(matches(one, memory) for one in of)
        case _:
            assert_never(condition)


def _holds(actual: Any, by: Comparison, value: Value) -> bool:
    if actual is None or actual == "":
        return by is Comparison.UNEQUAL
    return _COMPARED[by](actual, value)


_COMPARED: Mapping[Comparison, Callable[[Any, Any], bool]] = {
    Comparison.EQUAL: operator.eq,
    Comparison.UNEQUAL: operator.ne,
    Comparison.LESS: operator.lt,
    Comparison.AT_MOST: operator.le,
    Comparison.MORE: operator.gt,
    Comparison.AT_LEAST: operator.ge,
}
