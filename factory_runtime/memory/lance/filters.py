"""What a query wants, as LanceDB's expressions: text from outside never becomes SQL.

The expressions know neither ``IS NULL`` nor ``COALESCE``, and a comparison with null drops the row,
also where it is negated. So every column is first asked whether it has a value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, assert_never

from factory_runtime.domain.conditions import (
    TIME_COLUMNS,
    AllOf,
    AnyOf,
    Compare,
    Comparison,
    Condition,
    IsEmpty,
    Not,
    OneOf,
    Value,
)
from factory_runtime.domain.memory import Kind, kinds_of
from factory_runtime.ports import RecallQuery

if TYPE_CHECKING:
    from lancedb.expr import Expr

_COMPARED: Mapping[Comparison, Callable[[Any, Any], Any]] = {
    Comparison.EQUAL: operator.eq,
    Comparison.LESS: operator.lt,
    Comparison.AT_MOST: operator.le,
    Comparison.MORE: operator.gt,
    Comparison.AT_LEAST: operator.ge,
}


def wanted(query: RecallQuery) -> Expr | None:
    """What a row must be like; None where any will do."""
    found = [*_of_projects(query), *_of_columns(query), *_of_time(query)]
    if query.exclude_run_ids:
        found.append(~_text("run_id").isin(list(query.exclude_run_ids)))
    if query.where is not None:
        found.append(_expression(query.where))
    return _all(found) if found else None


def _of_projects(query: RecallQuery) -> list[Expr]:
    # What belongs to no project is the whole tenant's.
    found: list[Expr] = []
    if query.project_id is not None:
        found.append(_text("project_id").isin([query.project_id, ""]))
    if query.projects is not None:
        found.append(_text("project_id").isin([*query.projects, ""]))
    return found


def _of_columns(query: RecallQuery) -> list[Expr]:
    found: list[Expr] = []
    if (kinds := _kinds(query)) != frozenset(Kind):
        found.append(_text("kind").isin(sorted(kind.value for kind in kinds)))
    if query.template_id is not None:
        found.append(_text("template_id") == _value(query.template_id))
    if query.outcome is not None:
        found.append(_text("outcome") == _value(query.outcome))
    return found


def _kinds(query: RecallQuery) -> frozenset[Kind]:
    """A collection is its kinds: a row says of what kind it is."""
    kinds = kinds_of(query.collections)
    return kinds if query.kinds is None else kinds & set(query.kinds)


def _of_time(query: RecallQuery) -> list[Expr]:
    from lancedb.expr import col

    found: list[Expr] = []
    if query.since is not None:
        found.append(col("created_at") >= _value(query.since))
    if query.until is not None:
        found.append(col("created_at") < _value(query.until))
    return found


def _expression(condition: Condition) -> Expr:
    match condition:
        case Compare(column, Comparison.UNEQUAL, value):
            return ~_expression(Compare(column, Comparison.EQUAL, value))
        case Compare(column, by, value):
            return _has_value(column) & _COMPARED[by](_column(column), _value(value))
        case OneOf(column, values):
            known = [_value(value) for value in values if value != ""]
            return _has_value(column) & _column(column).isin(known)
        case IsEmpty(column):
            return ~_has_value(column)
        case Not(of):
            return ~_expression(of)
        case AllOf(of):
            return _all([_expression(one) for one in of])
        case AnyOf(of):
            return reduce(lambda one, other: one | other, map(_expression, of), _value(False))
        case _:
            assert_never(condition)


def _has_value(column: str) -> Expr:
    from lancedb.expr import col, func, lit

    if column in TIME_COLUMNS:
        moment: Any = col(column)
        return func("concat", moment.cast("string"), lit("")) != lit("")
    return _text(column) != lit("")


def _column(column: str) -> Expr:
    from lancedb.expr import col

    return col(column) if column in TIME_COLUMNS else _text(column)


def _text(column: str) -> Expr:
    """The column's text, empty where it is null."""
    from lancedb.expr import col, func, lit

    return func("concat", col(column), lit(""))


def _value(value: Value | bool) -> Expr:
    from lancedb.expr import lit

    return lit(value)


def _all(expressions: Sequence[Expr]) -> Expr:
    return reduce(lambda one, other: one & other, expressions, _value(True))
