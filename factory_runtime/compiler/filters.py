"""What expressions may do with a value: ``x|FILTER``, an allow-list, each one bounded.

They take and give JSON values and know nothing else; names and meaning are Jinja's. Whatever
grows is charged to the Meter before it is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from factory_runtime.compiler.conditions import TESTS
from factory_runtime.compiler.values import (
    Meter,
    RefusedError,
    as_text,
    describe,
    items_of,
    json_text,
    look_up,
    number,
    text_of,
)


def _attribute(meter: Meter, item: Any, path: Any) -> Any:
    for part in text_of(path).split("."):
        meter.step()
        try:
            item = look_up(item, int(part) if part.isdecimal() and len(part) < 8 else part)
        except KeyError:
            raise RefusedError(f"{describe(item)} has no {part!r}") from None
    return item


def _keyed(meter: Meter, items: list[Any], attribute: Any) -> list[tuple[Any, Any]]:
    if attribute is None:
        return [(item, item) for item in items]
    return [(_attribute(meter, item, attribute), item) for item in items]


def _fold(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _default(meter: Meter, value: Any, fallback: Any = "", boolean: Any = False) -> Any:
    return value if value or not boolean else fallback


def _replace(meter: Meter, value: Any, old: Any, new: Any, count: Any = -1) -> str:
    text, old, new = text_of(value), text_of(old), as_text(meter, new)
    hits = text.count(old) if count == -1 else min(text.count(old), int(number(count)))
    meter.charge(len(text) + max(hits, 0) * max(len(new) - len(old), 0))
    return text.replace(old, new, hits)


def _trim(meter: Meter, value: Any, characters: Any = None) -> str:
    text = as_text(meter, text_of(value))
    return text.strip(None if characters is None else text_of(characters))


def join(meter: Meter, value: Any, by: Any = "", attribute: Any = None) -> str:
    """The items as text, with ``by`` between them."""
    separator = text_of(by)
    keyed = _keyed(meter, _list(meter, value), attribute)
    meter.charge(len(separator) * len(keyed))
    return separator.join([as_text(meter, key) for key, _ in keyed])


def _split(meter: Meter, value: Any, by: Any = None) -> list[str]:
    text = as_text(meter, text_of(value))
    if by == "":
        raise RefusedError("split needs a separator that is not empty")
    return text.split(None if by is None else text_of(by))


def _length(meter: Meter, value: Any) -> int:
    return len(value) if isinstance(value, str) else len(_list(meter, value))


def _end(place: int) -> Callable[[Meter, Any], Any]:
    def take(meter: Meter, value: Any) -> Any:
        items = _list(meter, value)
        if not items:
            raise RefusedError("the list is empty")
        return items[place]

    return take


def _sort(
    meter: Meter,
    value: Any,
    reverse: Any = False,
    case_sensitive: Any = False,
    attribute: Any = None,
) -> list[Any]:
    keyed = _keyed(meter, _list(meter, value), attribute)
    # Each is compared with some others, from its first item to where they differ.
    meter.look_at(*(key for key, _ in keyed))
    fold: Callable[[Any], Any] = (lambda key: key) if case_sensitive else _fold
    ordered = sorted(keyed, key=lambda pair: fold(pair[0]), reverse=bool(reverse))
    return [item for _, item in ordered]


def _unique(
    meter: Meter, value: Any, case_sensitive: Any = False, attribute: Any = None
) -> list[Any]:
    seen: set[str] = set()
    kept: list[Any] = []
    for key, item in _keyed(meter, _list(meter, value), attribute):
        mark = as_text(meter, [key if case_sensitive else _fold(key)])
        if mark not in seen:
            seen.add(mark)
            kept.append(item)
    return kept


def _int(meter: Meter, value: Any, default: Any = 0, base: Any = 10) -> Any:
    try:
        if isinstance(value, str):
            return number(
                int(value, base) if base != 10 or value.isdecimal() else int(float(value))
            )
        return number(int(value))
    except (ValueError, OverflowError, TypeError):
        return default


def _float(meter: Meter, value: Any, default: Any = 0.0) -> Any:
    try:
        return number(float(value))
    except (ValueError, OverflowError, TypeError):
        return default


def _list(meter: Meter, value: Any) -> list[Any]:
    items = items_of(value)
    meter.charge(len(items))
    return items


def _extreme(largest: bool) -> Callable[..., Any]:
    def pick(meter: Meter, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
        ordered = _sort(meter, value, largest, case_sensitive, attribute)
        if not ordered:
            raise RefusedError("the list is empty")
        return ordered[0]

    return pick


def _sum(meter: Meter, value: Any, attribute: Any = None, start: Any = 0) -> int | float:
    keys = [number(key) for key, _ in _keyed(meter, _list(meter, value), attribute)]
    return number(sum(keys, number(start)))


def _round(meter: Meter, value: Any, precision: Any = 0, method: Any = "common") -> float:
    places = number(precision)
    if not isinstance(places, int) or abs(places) > 15:
        raise RefusedError("round takes a precision from -15 to 15")
    if method not in {"common", "ceil", "floor"}:
        raise RefusedError("round takes the method common, ceil or floor")
    if method == "common":
        return number(round(float(number(value)), places))
    scaled = number(value) * 10.0**places
    return (math.ceil(scaled) if method == "ceil" else math.floor(scaled)) / 10.0**places


def _map(
    meter: Meter, value: Any, filter: Any = None, *args: Any, attribute: Any = None, **named: Any
) -> list[Any]:
    items = _list(meter, value)
    if attribute is not None:
        fallback = {"default": named["default"]} if "default" in named else {}
        return [_attribute_or(meter, item, attribute, fallback) for item in items]
    apply = FILTERS.get(text_of(filter)) if filter != "map" else None
    if apply is None:
        raise RefusedError(f"map knows no filter {filter!r}")
    return [apply(meter, item, *args, **named) for item in items]


def _attribute_or(meter: Meter, item: Any, path: Any, fallback: Mapping[str, Any]) -> Any:
    try:
        return _attribute(meter, item, path)
    except RefusedError:
        if fallback:
            return fallback["default"]
        raise


def _choosing(keep: bool) -> Callable[..., list[Any]]:
    def choose(meter: Meter, value: Any, test: Any = "true-like", *args: Any) -> list[Any]:
        check = TESTS.get(text_of(test)) if test != "true-like" else bool
        if check is None:
            raise RefusedError(f"there is no test {test!r}")

        def holds(item: Any) -> bool:
            meter.look_at(item, *args)
            return bool(check(item, *args))

        return [item for item in _list(meter, value) if holds(item) is keep]

    return choose


def _pairs(meter: Meter, value: Any) -> list[list[Any]]:
    if not isinstance(value, Mapping):
        raise RefusedError(f"{describe(value)} is not a mapping")
    pairs = cast("Mapping[str, Any]", value)
    meter.charge(2 * len(pairs))
    return [[key, item] for key, item in pairs.items()]


def _absolute(meter: Meter, value: Any) -> int | float:
    return abs(number(value))


def _change(change: Callable[[str], str]) -> Callable[[Meter, Any], str]:
    return lambda meter, value: change(as_text(meter, text_of(value)))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "abs": _absolute,
    "capitalize": _change(str.capitalize),
    "default": _default,
    "first": _end(0),
    "float": _float,
    "int": _int,
    "items": _pairs,
    "join": join,
    "last": _end(-1),
    "length": _length,
    "list": _list,
    "lower": _change(str.lower),
    "map": _map,
    "max": _extreme(largest=True),
    "min": _extreme(largest=False),
    "reject": _choosing(keep=False),
    "replace": _replace,
    "round": _round,
    "select": _choosing(keep=True),
    "sort": _sort,
    "split": _split,
    "string": as_text,
    "sum": _sum,
    "title": _change(str.title),
    "tojson": json_text,
    "trim": _trim,
    "unique": _unique,
    "upper": _change(str.upper),
}
