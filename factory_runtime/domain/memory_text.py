"""How values become text that is kept for good: one line, readable, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, cast

from factory_runtime.domain.redaction import REDACTED, is_secret_key, redact, redact_text
from factory_runtime.domain.secrets import SHORTEST, Secrets

LINE = 120
"""Characters of a line, where nothing else is said."""

_READ = 16 * 1024
"""Characters of one text that are looked at."""

_VALUE = 4096
"""Characters of one value, and a tenth as many members of one list: more are never shown."""

_SECRETS = 64
_SECRET_LENGTH = 4096
_PIECE = 256
"""Characters: a longer secret is looked for piece by piece, so that all of it is found."""

_IN_PIECES = re.compile(rf"(?:{re.escape(REDACTED)}){{2,}}")
_DEEPEST = 32


def cut(text: str, length: int) -> str:
    """The text, or its beginning and a sign that there is more."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def one_line(text: str, length: int = LINE, secrets: Secrets | None = None) -> str:
    """One line without secrets, control characters and lone surrogates, cut to a length.

    ``secrets`` are taken out beside what looks like one.
    """
    readable = text[:_READ].encode("utf-8", "replace").decode("utf-8")
    if secrets is not None:
        readable = secrets.hide_in(readable)
    harmless = _IN_PIECES.sub(REDACTED, redact_text(readable))
    printable = "".join(c if c.isprintable() else " " for c in harmless)
    return cut(" ".join(printable.split()), length)


def words_of(name: str) -> str:
    """``service_name`` and ``serviceName`` as people say them."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_-]+", " ", name).lower()


def spoken(inputs: Mapping[str, Any], length: int, most: int) -> list[str]:
    """``service name: orders``, one an input; what is empty or switched off says nothing."""
    lines = [
        f"{one_line(words_of(path), 60)}: {one_line(value, length)}"
        for path, value in islice(_leaves(inputs), most)
    ]
    return [line for line in lines if not line.endswith(": ")]


def clean(inputs: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    """Inputs without secrets; of values that are very large, the beginning and how large they are.

    To look through a megabyte for secrets takes seconds.
    """
    return secrets.hide(redact(_bounded(inputs, 0)))


def secrets_in(inputs: Any) -> Secrets:
    """What stands in inputs under names of secrets, so that no error repeats it."""
    found = Secrets()
    pieces = (
        text[begin : begin + _PIECE]
        for text in _secret_texts(inputs, 0, of_secret=False)
        for begin in range(0, min(len(text), _SECRET_LENGTH), _PIECE)
    )
    found.add(dict.fromkeys(islice((one for one in pieces if len(one) >= SHORTEST), _SECRETS)))
    return found


def _bounded(value: Any, depth: int) -> Any:
    match value:
        case str() if len(value) > _VALUE:
            return f"{value[:_VALUE]}… ({len(value)} characters)"
        case Mapping() if depth < _DEEPEST:
            items = cast("Mapping[Any, Any]", value).items()
            return {str(key)[:_VALUE]: _bounded(inner, depth + 1) for key, inner in items}
        case list() if depth < _DEEPEST:
            members = cast("list[Any]", value)
            some = [_bounded(inner, depth + 1) for inner in members[: _VALUE // 10]]
            return some if len(some) == len(members) else [*some, f"… ({len(members)} items)"]
        case Mapping() | list():
            return REDACTED
        case _:
            return value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in cast(Mapping[str, Any], value).items():
            yield from _leaves(inner, f"{path} {key}".strip())
    elif isinstance(value, list):
        items = cast(list[Any], value)
        simple = [str(item) for item in items if isinstance(item, str | int | float)]
        if simple:
            yield path, ", ".join(simple)
        for item in items:
            if isinstance(item, Mapping | list):
                yield from _leaves(item, path)
    elif value is not None and value is not False and value != "":
        yield path, "yes" if value is True else str(value)


def _secret_texts(value: Any, depth: int, *, of_secret: bool) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        if of_secret:
            yield value
    elif isinstance(value, Mapping):
        for key, inner in cast(Mapping[Any, Any], value).items():
            is_one = of_secret or is_secret_key(str(key))
            yield from _secret_texts(inner, depth + 1, of_secret=is_one)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):
            yield from _secret_texts(inner, depth + 1, of_secret=of_secret)
