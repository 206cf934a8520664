"""Evaluates what a template wrote against a scope.

An expression's checked syntax nodes are evaluated one by one instead of being turned into Python.
So there is no code to break out of, every operation can be bounded before it is done, and reading
ten thousand different expressions stays cheap (making Python of each costs six times as much as
reading it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from factory_runtime.compiler.evaluation import UndefinedError, evaluate_node
from factory_runtime.compiler.syntax import OPEN, Expression, parse_text, shorten
from factory_runtime.compiler.values import Meter, RefusedError, as_text
from factory_runtime.domain.errors import ExpressionError


def scope_name(step: str) -> str:
    """How expressions spell a step: ``generate-repo`` is ``steps.generate_repo``."""
    return step.replace("-", "_")


def evaluate(value: Any, scope: Mapping[str, Any]) -> Any:
    """Resolve every expression in a value that a template wrote (``with``, ``when``, outputs).

    A text that is one expression becomes that expression's value, type and all; in other text the
    value stands as text (JSON where it is not text). What the scope holds is never read as an
    expression itself.

    Args:
        value: JSON, as the template wrote it.
        scope: any of ``inputs``, ``steps`` (by ``scope_name``, each with its ``outputs``; for a
            step with ``each``, outputs by item key), ``item``, ``run`` and ``event``.

    Raises:
        ExpressionError: names the expression and what is undefined or impossible in it.
    """
    return _resolve(value, scope, Meter())


def _resolve(value: Any, scope: Mapping[str, Any], meter: Meter) -> Any:
    if isinstance(value, str):
        return _resolve_text(value, scope, meter) if OPEN in value else value
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value)
        return {key: _resolve(item, scope, meter) for key, item in pairs.items()}
    if isinstance(value, list | tuple):
        items = cast("Sequence[Any]", value)
        return [_resolve(item, scope, meter) for item in items]
    return value


def _resolve_text(value: str, scope: Mapping[str, Any], meter: Meter) -> Any:
    text = parse_text(value)
    if text.whole:
        return _value_of(cast("Expression", text.parts[0]), scope, meter)
    return "".join(
        part if isinstance(part, str) else _value_of(part, scope, meter, as_text)
        for part in text.parts
    )


def _value_of(
    expression: Expression,
    scope: Mapping[str, Any],
    meter: Meter,
    convert: Callable[[Meter, Any], Any] = lambda meter, value: value,
) -> Any:
    try:
        return convert(meter, evaluate_node(expression.node, scope, meter))
    except UndefinedError as error:
        message = f"{error} is undefined in {shorten(expression.text)}"
        hint = "give it a value, or use the filter default"
        raise ExpressionError(message, hint=hint) from None
    except (RefusedError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ExpressionError(f"{error} in {shorten(expression.text)}") from error
