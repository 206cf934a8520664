"""From the text of a filter to its condition, by sqlglot and a list of what is allowed.

Import it only to read a filter: sqlglot takes half a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlglot import ParseError, Token, TokenError, Tokenizer, TokenType, exp, parse_one

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
)
from factory_runtime.domain.errors import InputError
from factory_runtime.wire.where import COLUMNS, MAX_CONDITIONS, MAX_DEPTH, WHERE_HINT
from factory_runtime.wire.where_values import (
    NO_COLUMNS,
    UNITS,
    begins,
    check_ordered,
    column_of,
    is_text,
    no_condition,
    only,
    unknown,
    value_of,
    within,
)

_ALLOWED = frozenset(
    {
        *(TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER),
        *(TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE),
        *(TokenType.AND, TokenType.OR, TokenType.NOT, TokenType.L_PAREN, TokenType.R_PAREN),
        *(TokenType.IN, TokenType.BETWEEN, TokenType.LIKE, TokenType.IS, TokenType.NULL),
        *(TokenType.COMMA, TokenType.DASH, TokenType.INTERVAL, TokenType.CURRENT_TIMESTAMP),
        *(TokenType.DATE, TokenType.TIMESTAMP, TokenType.TIMESTAMPTZ),
    }
)
_WORDS = frozenset({*COLUMNS, *NO_COLUMNS, *UNITS, *(f"{unit}s" for unit in UNITS), "now"})
_PREFIXES = frozenset({TokenType.NOT, TokenType.DASH, TokenType.INTERVAL})

_COMPARISONS: Mapping[type[exp.Expr], Comparison] = {
    exp.EQ: Comparison.EQUAL,
    exp.NEQ: Comparison.UNEQUAL,
    exp.LT: Comparison.LESS,
    exp.LTE: Comparison.AT_MOST,
    exp.GT: Comparison.MORE,
    exp.GTE: Comparison.AT_LEAST,
}
_TURNED = {
    Comparison.LESS: Comparison.MORE,
    Comparison.AT_MOST: Comparison.AT_LEAST,
    Comparison.MORE: Comparison.LESS,
    Comparison.AT_LEAST: Comparison.AT_MOST,
}


def read_where(text: str, now: datetime) -> Condition:
    """What the filter means; it is not longer than may be.

    Raises:
        InputError: it says what a filter cannot.
    """
    _check_tokens(_tokens(text))
    try:
        tree = parse_one(text, into=exp.Condition)
    except ParseError as exc:
        at = exc.errors[0] if exc.errors else {}
        raise InputError(
            f"the filter cannot be read at {at.get('highlight')!r}, character {at.get('col')}",
            hint=WHERE_HINT,
        ) from exc
    return _Reader(now).condition(tree)


def _tokens(text: str) -> Sequence[Token]:
    try:
        return Tokenizer().tokenize(text)
    except TokenError as exc:
        raise InputError(
            "a quote in the filter is not closed",
            hint="a quote within a text is written twice, as in 'it''s'",
        ) from exc


def _check_tokens(tokens: Sequence[Token]) -> None:
    """Before the parser sees them: it knows all of SQL, and calls itself for what is nested."""
    if not tokens:
        raise _commented()
    depth = prefixes = 0
    opened: list[int] = []
    for token in tokens:
        if token.comments:
            raise _commented()
        if token.token_type not in _ALLOWED and token.text.lower() not in _WORDS:
            raise unknown(token.text)
        if token.token_type is TokenType.L_PAREN:
            opened.append(prefixes + 1)
            depth += prefixes + 1
        elif token.token_type is TokenType.R_PAREN:
            if not opened:
                raise InputError("the filter closes a bracket that is not open")
            depth -= opened.pop()
        prefixes = prefixes + 1 if token.token_type in _PREFIXES else 0
        if depth + prefixes > MAX_DEPTH:
            raise InputError(
                f"the filter is nested deeper than {MAX_DEPTH}", hint="leave brackets out"
            )
    if opened:
        raise InputError("a bracket in the filter is not closed")


def _commented() -> InputError:
    return InputError("the filter has a comment", hint="leave it out")


class _Reader:
    """Walks the tree; whatever it does not expect is refused."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._count = 0
        self._readers: Mapping[type[exp.Expr], Callable[[exp.Expr], Condition]] = {
            exp.Paren: lambda node: self.condition(only(node, "this").this),
            exp.Not: lambda node: Not(self.condition(only(node, "this").this)),
            exp.And: lambda node: AllOf(self._joined(node)),
            exp.Or: lambda node: AnyOf(self._joined(node)),
            exp.In: self._one_of,
            exp.Between: self._between,
            exp.Is: self._is_empty,
            exp.Like: self._like,
            **dict.fromkeys(_COMPARISONS, self._compare),
        }

    def condition(self, node: exp.Expr) -> Condition:
        self._count += 1
        if self._count > MAX_CONDITIONS:
            raise InputError(
                f"the filter has more than {MAX_CONDITIONS} conditions",
                hint="write many values of one column as IN ('…', '…')",
            )
        reader = self._readers.get(type(node))
        if reader is None:
            raise no_condition(node)
        return reader(node)

    def _joined(self, node: exp.Expr) -> tuple[Condition, ...]:
        """All that the same word joins: the tree of a long chain is as deep as the chain."""
        parts: list[exp.Expr] = []
        left = node
        while type(left) is type(node):
            parts.append(left.expression)
            left = only(left, "this", "expression").this
        return tuple(self.condition(part) for part in [left, *reversed(parts)])

    def _compare(self, node: exp.Expr) -> Condition:
        left, right = node.this, only(node, "this", "expression").expression
        by = _COMPARISONS[type(node)]
        if type(right) is exp.Column and type(left) is not exp.Column:
            left, right, by = right, left, _TURNED.get(by, by)
        column = column_of(left)
        if by in _TURNED:
            check_ordered(column)
        return Compare(column, by, value_of(column, right, self._now))

    def _one_of(self, node: exp.Expr) -> Condition:
        column = column_of(only(node, "this", "expressions").this)
        values = tuple(value_of(column, one, self._now) for one in node.expressions)
        if not values:
            raise InputError("IN has no values", hint="as in kind IN ('run', 'failure')")
        return OneOf(column, values)

    def _between(self, node: exp.Expr) -> Condition:
        column = column_of(only(node, "this", "low", "high").this)
        check_ordered(column)
        low, high = (value_of(column, node.args[name], self._now) for name in ("low", "high"))
        return within(column, low, high)

    def _is_empty(self, node: exp.Expr) -> Condition:
        if type(only(node, "this", "expression").expression) is not exp.Null:
            raise unknown(node)
        return IsEmpty(column_of(node.this))

    def _like(self, node: exp.Expr) -> Condition:
        column = column_of(only(node, "this", "expression", "negate").this)
        pattern = node.expression
        if column in TIME_COLUMNS or not is_text(pattern):
            raise unknown(node)
        begun = begins(column, pattern.name)
        # Some versions of the parser put no Not around it.
        return Not(begun) if node.args.get("negate") else begun
