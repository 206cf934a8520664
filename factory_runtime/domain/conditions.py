"""Conditions on memories: what a filter that somebody typed means, as a tree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Comparison(StrEnum):
    """How a column is compared with a value."""

    EQUAL = "="
    UNEQUAL = "<>"
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Compare:
    """A column beside a value; what is empty is like nothing, and only unequal to everything."""

    column: str
    by: Comparison
    value: str | int | datetime


@dataclass(frozen=True, slots=True)
class OneOf:
    """A column that has one of the values."""

    column: str
    values: tuple[str | int | datetime, ...]


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
