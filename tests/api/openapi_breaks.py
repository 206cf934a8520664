"""What a client of one OpenAPI document would meet that the next one has taken from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_REF = "#/components/schemas/"
_MOST, _LEAST = ("maxLength", "maximum", "maxItems"), ("minLength", "minimum", "minItems")


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Each place where the new document takes something away; none where it only adds."""
    return list(_Comparison(_schemas(old), _schemas(new)).documents(old, new))


def _schemas(document: Mapping[str, Any]) -> Mapping[str, Schema]:
    return document.get("components", {}).get("schemas", {})


class _Comparison:
    """Of two documents; each pair of named schemas is compared once in each direction."""

    def __init__(self, old: Mapping[str, Schema], new: Mapping[str, Schema]) -> None:
        self._old, self._new = old, new
        self._seen = set[tuple[str, str, bool]]()

    def documents(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        for path, operations in old["paths"].items():
            for method, operation in operations.items():
                where, now = f"{method.upper()} {path}", new["paths"].get(path, {}).get(method)
                if now is None:
                    yield f"{where} is gone"
                else:
                    yield from self._operations(operation, now, where)

    def _operations(self, old: Mapping[str, Any], new: Mapping[str, Any], at: str) -> Iterator[str]:
        yield from self._parameters(_named(old), _named(new), at)
        asked, asks = old.get("requestBody", {}), new.get("requestBody", {})
        if asks.get("required") and not asked.get("required"):
            yield f"{at} takes no request without a body any more"
        yield from self._contents(asked, asks, f"{at} asked with", asked=True)
        for status, answer in old["responses"].items():
            where = f"{at} answered {status}"
            if status not in new["responses"]:
                yield f"{where} is gone"
            else:
                yield from self._contents(answer, new["responses"][status], where, asked=False)

    def _parameters(self, old: dict[Any, Any], new: dict[Any, Any], at: str) -> Iterator[str]:
        for key, parameter in new.items():
            if parameter.get("required") and not old.get(key, {}).get("required"):
                yield f"{at}: {key[1]} is required now"
        for key, parameter in old.items():
            if key not in new:
                yield f"{at}: the parameter {key[1]} is gone"
            else:
                pair = parameter.get("schema", {}), new[key].get("schema", {})
                yield from self._pair(*pair, f"{at}: {key[1]}", asked=True)

    def _contents(
        self, old: Mapping[str, Any], new: Mapping[str, Any], at: str, *, asked: bool
    ) -> Iterator[str]:
        for kind, media in old.get("content", {}).items():
            now = new.get("content", {}).get(kind)
            if now is None:
                yield f"{at}: {kind} is gone"
            else:
                pair = media.get("schema", {}), now.get("schema", {})
                yield from self._pair(*pair, at, asked=asked)

    def _pair(self, old: Schema, new: Schema, at: str, *, asked: bool) -> Iterator[str]:
        names = old.get("$ref"), new.get("$ref")
        if None not in names:
            if (*names, asked) in self._seen:
                return
            self._seen.add((str(names[0]), str(names[1]), asked))
        was, now = _variants(old, self._old), _variants(new, self._new)
        if asked and now and (lost := was.keys() - now.keys()):
            yield f"{at} may not be {' or '.join(sorted(lost))} any more"
        if not asked and was and (found := now.keys() - was.keys()):
            yield f"{at} may be {' or '.join(sorted(found))} now"
        for kind in was.keys() & now.keys():
            yield from self._values(was[kind], now[kind], at, asked=asked)

    def _values(self, old: Schema, new: Schema, at: str, *, asked: bool) -> Iterator[str]:
        yield from self._ranges(old, new, at, asked=asked)
        was, now = old.get("properties", {}), new.get("properties", {})
        for name in was.keys() - now.keys():
            yield f"{at}: {name} is gone"
        needed, needs = set(old.get("required", ())), set(new.get("required", ()))
        for name in needs - needed if asked else (needed - needs) & now.keys():
            yield f"{at}: {name} is {'required' if asked else 'optional'} now"
        for name in was.keys() & now.keys():
            yield from self._pair(was[name], now[name], f"{at}: {name}", asked=asked)
        if "items" in old and "items" in new:
            yield from self._pair(old["items"], new["items"], f"{at}[]", asked=asked)

    def _ranges(self, old: Schema, new: Schema, at: str, *, asked: bool) -> Iterator[str]:
        was, now = set(map(str, old.get("enum", ()))), set(map(str, new.get("enum", ())))
        if was and now and (lost := was - now):
            yield f"{at} is never {' or '.join(sorted(lost))} any more"
        if not asked:
            return
        if now and not was:
            yield f"{at} is one of a few now"
        for key in (*_MOST, *_LEAST):
            limit, before = new.get(key), old.get(key)
            if limit is not None and (
                before is None or (limit < before if key in _MOST else limit > before)
            ):
                yield f"{at}: {key} is {limit} now"
        if new.get("pattern") not in (None, old.get("pattern")):
            yield f"{at} has another pattern"


def _named(operation: Mapping[str, Any]) -> dict[Any, Any]:
    return {(one["in"], one["name"]): one for one in operation.get("parameters", ())}


def _variants(schema: Schema, schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """What a value may be, by its type; of several of one type, the last."""
    if "$ref" in schema:
        return _variants(schemas[schema["$ref"].removeprefix(_REF)], schemas)
    several = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if several:
        return {kind: one for part in several for kind, one in _variants(part, schemas).items()}
    kinds = schema.get("type", ())
    return dict.fromkeys([kinds] if isinstance(kinds, str) else kinds, schema)
