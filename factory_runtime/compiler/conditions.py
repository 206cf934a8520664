"""What expressions may ask of a value: ``x is TEST``, an allow-list."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from factory_runtime.compiler.values import contains, number


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


_OF_ONE: Mapping[str, Callable[[Any], bool]] = {
    # What is not defined never comes this far.
    "defined": lambda value: True,
    "undefined": lambda value: False,
    "none": lambda value: value is None,
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "mapping": lambda value: isinstance(value, Mapping),
    "sequence": _is_list,
    "even": lambda value: number(value) % 2 == 0,
    "odd": lambda value: number(value) % 2 == 1,
}
_OF_TWO: Mapping[str, Callable[[Any, Any], Any]] = {
    "in": lambda value, container: contains(container, value),
    **dict.fromkeys(("eq", "equalto", "=="), operator.eq),
    **dict.fromkeys(("ne", "!="), operator.ne),
    **dict.fromkeys(("lt", "lessthan", "<"), operator.lt),
    **dict.fromkeys(("le", "<="), operator.le),
    **dict.fromkeys(("gt", "greaterthan", ">"), operator.gt),
    **dict.fromkeys(("ge", ">="), operator.ge),
}
TESTS: Mapping[str, Callable[..., Any]] = {**_OF_ONE, **_OF_TWO}
