"""Exact secrets that a job was lent: taken out of everything that it says or leaves."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.redaction import REDACTED

SHORTEST = 8
"""Characters: what is shorter stands in harmless text too, and cannot be taken out of it."""

_PIECE = 16
"""A line of a secret, or a value in a connection string, that is this long is one itself."""
_VALUE = re.compile(rf"=([^;&\s]{{{_PIECE},}})")
_PASSWORD = re.compile(rf"://[^/@:\s]*:([^@/\s]{{{SHORTEST},}})@")

T = TypeVar("T")


class Secrets:
    """Values that nothing may say. More may be added while a job is at work."""

    def __init__(self) -> None:
        self._forms: frozenset[str] = frozenset()
        self._text: re.Pattern[str] | None = None
        self._bytes: re.Pattern[bytes] | None = None

    def __bool__(self) -> bool:
        return self._text is not None

    def add(self, values: Iterable[str]) -> None:
        """Let nothing say these any more.

        Raises:
            InputError: one is too short to be found.
        """
        values = [value for value in values if value]
        if any(len(value) < SHORTEST for value in values):
            raise InputError(
                f"a secret of fewer than {SHORTEST} characters cannot be kept",
                hint="give a longer one",
            )
        self._forms |= {form for value in values for form in _forms_of(value)}
        if not self._forms:
            return
        # The longest first: one may stand within another.
        longest = sorted(self._forms, key=lambda form: (-len(form), form))
        wanted = "|".join(map(re.escape, longest))
        self._bytes = re.compile(wanted.encode())
        self._text = re.compile(wanted)

    def hide_in(self, text: str) -> str:
        """The text without them, as they are or encoded."""
        return text if self._text is None else self._text.sub(REDACTED, text)

    def are_in(self, body: bytes) -> bool:
        """Whether bytes hold one of them."""
        return self._bytes is not None and self._bytes.search(body) is not None

    def hide(self, value: T) -> T:
        """A value without them, of the same kind: JSON, and frozen dataclasses of ours."""
        return value if self._text is None else cast("T", self._hidden(value))

    def _hidden(self, value: Any) -> Any:
        match value:
            case str():
                return self.hide_in(value) if type(value) is str else value
            case Mapping():
                items = cast("Mapping[Any, Any]", value).items()
                return {self._hidden(key): self._hidden(inner) for key, inner in items}
            case list() | tuple() | set() | frozenset():
                members = cast("Iterable[Any]", value)
                return type(cast("Any", value))(self._hidden(inner) for inner in members)
            case _ if is_dataclass(value) and not isinstance(value, type):
                hidden = {one.name: self._hidden(getattr(value, one.name)) for one in fields(value)}
                return replace(value, **hidden)
            case _:
                return value


def _forms_of(value: str) -> set[str]:
    """How it may stand in text: as it is, line by line, and encoded in the common ways."""
    lines = (line.strip() for line in value.splitlines())
    parts = {value, value.strip(), *(line for line in lines if len(line) >= _PIECE)}
    parts |= {*_VALUE.findall(value), *_PASSWORD.findall(value)}
    return {form for part in parts for form in _encoded(part)}


def _encoded(part: str) -> set[str]:
    raw = part.encode("utf-8", "surrogatepass")
    quoted = {quote(part, safe=safe, errors="replace") for safe in ("", "/")}
    quoted.add(quote_plus(part, errors="replace"))
    forms = {part, html.escape(part), json.dumps(part)[1:-1], repr(part)[1:-1], ascii(part)[1:-1]}
    forms |= {json.dumps(part, ensure_ascii=False)[1:-1], raw.hex(), raw.hex().upper()}
    forms |= quoted | {re.sub("%..", lambda found: found[0].lower(), one) for one in quoted}
    return {form for form in forms | _base64_of(raw) if len(form) >= SHORTEST}


def _base64_of(raw: bytes) -> set[str]:
    """What stays the same wherever it begins within what is encoded: ``user:secret`` too."""
    found = set[str]()
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * shift + raw).decode().rstrip("=")
            # Characters on either edge hold bits of what stands beside it.
            first = -(-8 * shift // 6)
            last = 8 * (shift + len(raw)) // 6
            found.add(text[first:last])
    return found
