"""The columns and values of a filter; what is neither is refused.

Import it only to read a filter, as ``where_tree`` does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sqlglot import exp

from factory_runtime.domain.conditions import (
    TIME_COLUMNS,
    AllOf,
    Compare,
    Comparison,
    Condition,
    IsEmpty,
    Not,
    Value,
)
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Kind
from factory_runtime.wire.where import COLUMNS, WHERE_HINT

UNITS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
"""Of an interval, one of each."""

NO_COLUMNS = frozenset({"tenant", "tenant_id"})
"""What somebody may take for a column, and is none."""

_LAST_CHARACTER = chr(0x10FFFF)
_SHOWN_NODES = 20
_SHOWN_CHARACTERS = 60


def unknown(what: exp.Expr | str) -> InputError:
    """That a filter does not know this."""
    return InputError(f"a filter does not know {_spelled(what)!r}", hint=WHERE_HINT)


def no_condition(node: exp.Expr) -> InputError:
    """That this is neither true nor false."""
    return InputError(f"in a filter, {_spelled(node)!r} is no condition", hint=WHERE_HINT)


def _spelled(what: exp.Expr | str) -> str:
    if not isinstance(what, str):
        # What is long may be nested as deep, which would be spelled by as many calls.
        what = what.sql() if sum(1 for _ in what.walk()) <= _SHOWN_NODES else what.key.upper()
    return what if len(what) <= _SHOWN_CHARACTERS else f"{what[:_SHOWN_CHARACTERS]}…"


def only(node: exp.Expr, *names: str) -> exp.Expr:
    """The node, which says nothing beside these."""
    if any(value for name, value in node.args.items() if name not in names):
        raise unknown(node)
    return node


def column_of(node: exp.Expr) -> str:
    """The column of a memory that is named."""
    if type(node) is not exp.Column or type(only(node, "this").this) is not exp.Identifier:
        raise unknown(node)
    name = node.name.lower()
    if name in NO_COLUMNS:
        raise InputError(
            f"{name} is no column of a filter",
            hint="a search sees what its own tenant may see, and nothing else",
        )
    if name not in COLUMNS:
        raise InputError(f"a filter knows no column {node.name!r}", hint=WHERE_HINT)
    return COLUMNS[name]


def check_ordered(column: str) -> None:
    """That more and less mean something there."""
    if column == "template_version":
        raise InputError(
            "a filter cannot tell which version is the older one",
            hint="name them, as in version IN ('1.9.0', '1.10.0'), or write version LIKE '1.%'",
        )


def value_of(column: str, node: exp.Expr, now: datetime) -> Value:
    """What the column is compared with."""
    if type(node) is exp.Null:
        raise InputError("nothing equals NULL", hint="as in project IS NULL")
    if column in TIME_COLUMNS:
        return _moment(node, now)
    if type(node) is exp.Column:
        raise InputError(
            f"a filter cannot compare {column} with {_spelled(node)}",
            hint="a text stands in single quotes, as in kind = 'run'",
        )
    if not is_text(node):
        raise InputError(
            f"{column} is a text, and {_spelled(node)} is none",
            hint="put it in single quotes, as in version = '1'",
        )
    return _text(column, node.name)


def _moment(node: exp.Expr, now: datetime) -> datetime:
    try:
        if is_text(node):
            return _time(node.name)
        if type(node) is exp.Cast and is_text(node.this):  # DATE '2026-11-21'
            return _time(node.this.name)
        if type(node) is exp.Sub and _is_now(node.this):
            return now - _interval(node.expression)
        if _is_now(node):
            return now
    except (ValueError, OverflowError) as exc:
        raise _no_time(node) from exc
    raise _no_time(node)


def _text(column: str, text: str) -> str:
    if not text:
        raise InputError(
            f"{column} is never an empty text", hint="where it has no value, it IS NULL"
        )
    if column == "kind" and text not in set(Kind):
        kinds = ", ".join(kind.value for kind in Kind)
        raise InputError(f"there are no memories of kind {text!r}", hint=f"there are: {kinds}")
    return text


def is_text(node: exp.Expr) -> bool:
    """Whether it stands in single quotes."""
    return type(node) is exp.Literal and node.is_string


def begins(column: str, pattern: str) -> Condition:
    """The beginning that a pattern asks for, said by the order of texts."""
    parts = re.findall(r"\\[%_\\]|.", pattern, re.DOTALL)
    open_end = parts[-1:] == ["%"]
    start = parts[:-1] if open_end else parts
    if "%" in start or "_" in start:
        raise InputError(
            f"a filter knows no pattern like {pattern!r}",
            hint=r"only how a text begins, as in path LIKE 'src/%'; write \_ and \% for _ and %",
        )
    text = "".join(part if len(part) == 1 else part[1] for part in start)
    if not open_end:
        return Compare(column, Comparison.EQUAL, _text(column, text))
    return within(column, text, text + _LAST_CHARACTER) if text else Not(IsEmpty(column))


def within(column: str, low: Value, high: Value) -> Condition:
    """From the one to the other, both are in."""
    return AllOf(
        (Compare(column, Comparison.AT_LEAST, low), Compare(column, Comparison.AT_MOST, high))
    )


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _is_now(node: exp.Expr) -> bool:
    if type(node) is exp.Anonymous:
        return node.name.lower() == "now" and not node.expressions
    return type(node) is exp.CurrentTimestamp and not any(node.args.values())


def _interval(node: exp.Expr) -> timedelta:
    if type(node) is not exp.Interval or type(node.args.get("unit")) is not exp.Var:
        raise _no_time(node)
    count = re.fullmatch(r"[0-9]{1,6}", node.name)
    unit = UNITS.get(node.args["unit"].name.lower().removesuffix("s"))
    if count is None or unit is None:
        raise _no_time(node)
    return int(node.name) * unit


def _no_time(node: exp.Expr) -> InputError:
    return InputError(
        f"{_spelled(node)} is no time",
        hint="write '2026-11-21', '2026-11-21T14:00Z', or now() - interval '7 days'"
        " (minutes, hours, days or weeks)",
    )
