"""Evaluates the syntax nodes of a checked expression, one by one, within bounds."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

from jinja2 import nodes

from factory_runtime.compiler.conditions import TESTS
from factory_runtime.compiler.filters import FILTERS
from factory_runtime.compiler.values import (
    Meter,
    RefusedError,
    as_text,
    contains,
    describe,
    look_up,
    number,
)

Scope = Mapping[str, Any]


class UndefinedError(Exception):
    """Something that the scope does not hold was used; the message is its path."""


class _Undefined:
    """Stands for what is not there until something uses it."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


def evaluate_node(node: nodes.Node, scope: Scope, meter: Meter) -> Any:
    """The value of a node: JSON.

    Raises:
        UndefinedError: it uses what the scope does not hold.
        RefusedError: an operation is not possible or makes too much.
        TypeError, ValueError, ArithmeticError: likewise, from Python itself.
    """
    value = _find(node, scope, meter)
    if isinstance(value, _Undefined):
        raise UndefinedError(value.path)
    return value


def _find(node: nodes.Node, scope: Scope, meter: Meter) -> Any:
    meter.step()
    return _EVALUATE[type(node)](node, scope, meter)


def _const(node: nodes.Const, scope: Scope, meter: Meter) -> Any:
    return node.value


def _name(node: nodes.Name, scope: Scope, meter: Meter) -> Any:
    return scope[node.name] if node.name in scope else _Undefined(node.name)


def _getattr(node: nodes.Getattr, scope: Scope, meter: Meter) -> Any:
    return _member(node.node, node.attr, scope, meter)


def _getitem(node: nodes.Getitem, scope: Scope, meter: Meter) -> Any:
    return _member(node.node, evaluate_node(node.arg, scope, meter), scope, meter)


def _member(owner: nodes.Expr, key: Any, scope: Scope, meter: Meter) -> Any:
    value = _find(owner, scope, meter)
    if isinstance(value, _Undefined):
        return _Undefined(f"{value.path}.{key}")
    if isinstance(owner, nodes.Name) and owner.name == "steps" and isinstance(key, str):
        # A step may be spelled with its hyphens, too: steps['generate-repo'].
        key = key.replace("-", "_")
    try:
        return look_up(value, key)
    except KeyError:
        return _Undefined(f"{_path(owner) or describe(value)}.{key}")


def _path(node: nodes.Node) -> str:
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{_path(node.node)}.{node.attr}"
        case nodes.Getitem(arg=nodes.Const(value=key)):
            return f"{_path(node.node)}.{key}"
        case _:
            return ""


def _list(node: nodes.List | nodes.Tuple, scope: Scope, meter: Meter) -> list[Any]:
    return [evaluate_node(item, scope, meter) for item in node.items]


def _dict(node: nodes.Dict, scope: Scope, meter: Meter) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for pair in node.items:
        key = evaluate_node(pair.key, scope, meter)
        if not isinstance(key, str):
            raise RefusedError(f"{describe(key)} cannot be a key")
        made[key] = evaluate_node(pair.value, scope, meter)
    return made


def _conditional(node: nodes.CondExpr, scope: Scope, meter: Meter) -> Any:
    chosen = node.expr1 if evaluate_node(node.test, scope, meter) else node.expr2
    return evaluate_node(cast("nodes.Expr", chosen), scope, meter)


def _and(node: nodes.And, scope: Scope, meter: Meter) -> Any:
    return evaluate_node(node.left, scope, meter) and evaluate_node(node.right, scope, meter)


def _or(node: nodes.Or, scope: Scope, meter: Meter) -> Any:
    return evaluate_node(node.left, scope, meter) or evaluate_node(node.right, scope, meter)


def _not(node: nodes.Not, scope: Scope, meter: Meter) -> bool:
    return not evaluate_node(node.node, scope, meter)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda value, container: contains(container, value),
    "notin": lambda value, container: not contains(container, value),
}


def _compare(node: nodes.Compare, scope: Scope, meter: Meter) -> bool:
    left = evaluate_node(node.expr, scope, meter)
    for operand in node.ops:
        right = evaluate_node(operand.expr, scope, meter)
        meter.look_at(left, right)
        if not _COMPARE[operand.op](left, right):
            return False
        left = right
    return True


def _power(left: Any, right: Any) -> Any:
    # Bounded before it is computed: 9**9**9 would not come back.
    if abs(right) > 64:
        raise RefusedError("the exponent is larger than 64")
    if left < 0 and not isinstance(right, int):
        raise RefusedError("a negative number has no such power")
    return left**right


_ARITHMETIC: Mapping[type[nodes.Node], Callable[[Any, Any], Any]] = {
    nodes.Add: lambda left, right: left + right,
    nodes.Sub: lambda left, right: left - right,
    nodes.Mul: lambda left, right: left * right,
    nodes.Div: lambda left, right: left / right,
    nodes.FloorDiv: lambda left, right: left // right,
    nodes.Mod: lambda left, right: left % right,
    nodes.Pow: _power,
}


def _arithmetic(node: nodes.BinExpr, scope: Scope, meter: Meter) -> Any:
    left = evaluate_node(node.left, scope, meter)
    right = evaluate_node(node.right, scope, meter)
    if isinstance(node, nodes.Add):
        if isinstance(left, str) and isinstance(right, str):
            meter.charge(len(left) + len(right))
            return left + right
        if isinstance(left, list) and isinstance(right, list):
            both: list[Any] = [*left, *right]
            meter.charge(len(both))
            return both
    return number(_ARITHMETIC[type(node)](number(left), number(right)))


def _negative(node: nodes.Neg, scope: Scope, meter: Meter) -> Any:
    return number(-number(evaluate_node(node.node, scope, meter)))


def _positive(node: nodes.Pos, scope: Scope, meter: Meter) -> Any:
    return number(evaluate_node(node.node, scope, meter))


def _concat(node: nodes.Concat, scope: Scope, meter: Meter) -> str:
    return "".join([as_text(meter, evaluate_node(part, scope, meter)) for part in node.nodes])


def _filter(node: nodes.Filter, scope: Scope, meter: Meter) -> Any:
    value = _find(cast("nodes.Expr", node.node), scope, meter)
    args, named = _arguments(node, scope, meter)
    if isinstance(value, _Undefined):
        if node.name != "default":
            raise UndefinedError(value.path)
        value, named = None, {**named, "boolean": True}
    return FILTERS[node.name](meter, value, *args, **named)


def _test(node: nodes.Test, scope: Scope, meter: Meter) -> bool:
    value = _find(node.node, scope, meter)
    if isinstance(value, _Undefined):
        if node.name not in {"defined", "undefined"}:
            raise UndefinedError(value.path)
        return node.name == "undefined"
    args, named = _arguments(node, scope, meter)
    meter.look_at(value, *args)
    return bool(TESTS[node.name](value, *args, **named))


def _arguments(
    node: nodes.Filter | nodes.Test, scope: Scope, meter: Meter
) -> tuple[list[Any], dict[str, Any]]:
    args = [evaluate_node(arg, scope, meter) for arg in node.args]
    pairs = cast("list[nodes.Keyword]", node.kwargs)
    return args, {pair.key: evaluate_node(pair.value, scope, meter) for pair in pairs}


_EVALUATE: Mapping[type[nodes.Node], Callable[[Any, Scope, Meter], Any]] = {
    nodes.Const: _const,
    nodes.Name: _name,
    nodes.Getattr: _getattr,
    nodes.Getitem: _getitem,
    nodes.List: _list,
    nodes.Tuple: _list,
    nodes.Dict: _dict,
    nodes.CondExpr: _conditional,
    nodes.And: _and,
    nodes.Or: _or,
    nodes.Not: _not,
    nodes.Compare: _compare,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    nodes.Neg: _negative,
    nodes.Pos: _positive,
    nodes.Concat: _concat,
    nodes.Filter: _filter,
    nodes.Test: _test,
}
