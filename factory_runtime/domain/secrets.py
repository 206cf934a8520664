"""Exact secrets that a run came to know: taken out of everything that it says or leaves."""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.redaction import REDACTED

SHORTEST = 8
"""Characters: what is shorter stands in harmless text too, and cannot be taken out of it."""

_PIECE = 16
"""A line of a secret, or a value in a connection string, that is this long is one itself."""
_LONGEST = 256
"""Characters that are looked for at once, where they stand encoded."""
_VALUE = re.compile(rf"=([^;&\s]{{{_PIECE},}})")
_PASSWORD = re.compile(rf"://[^/@:\s]*:([^@/\s]{{{SHORTEST},}})@")

_BASE_64 = (base64.b64encode, base64.urlsafe_b64encode)
_WRAP = r"[\r\n]*"
"""Between characters of base64, which mail and command lines break into lines."""

_NUMERIC = str.maketrans({mark: f"&#{ord(mark)};" for mark in "&<>\"'"})
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"})
"""As XML writes it."""

T = TypeVar("T")


class _Forms(dict[str, str]):
    """Each form that is looked for, with its pattern; never changed once it is made."""

    @cached_property
    def text(self) -> re.Pattern[str]:
        return re.compile(_any_of(self))

    @cached_property
    def bytes(self) -> re.Pattern[bytes]:
        return re.compile(_any_of(self).encode())


class Secrets:
    """Values that nothing may say. More may be added by any thread while jobs are at work."""

    def __init__(self) -> None:
        self._adding = threading.Lock()
        self._forms = _Forms()

    def __bool__(self) -> bool:
        return bool(self._forms)

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
        found = _Forms()
        for value in values:
            found.update(_forms_of(value))
        with self._adding:
            if found.keys() - self._forms.keys():
                self._forms = _Forms(self._forms | found)

    def hide_in(self, text: str) -> str:
        """The text without them, as they are or encoded."""
        return self._forms.text.sub(REDACTED, text) if self._forms else text

    def are_in(self, body: bytes) -> bool:
        """Whether bytes hold one of them."""
        return bool(self._forms) and self._forms.bytes.search(body) is not None

    def hide(self, value: T) -> T:
        """A value without them, of the same kind: JSON, and frozen dataclasses of ours."""
        return cast("T", self._hidden(value)) if self._forms else value

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


def _any_of(forms: Mapping[str, str]) -> str:
    """A pattern of them all, the longest first: one may stand within another.

    By their first characters: most places in a text are left after one look.
    """
    longest = sorted(forms, key=lambda form: (-len(form), form))
    groups = defaultdict[str, list[str]](list)
    for form in longest:
        first = re.escape(form[0])
        groups[first].append(forms[form].removeprefix(first))
    return "|".join(f"{first}(?:{'|'.join(rest)})" for first, rest in groups.items())


def _forms_of(value: str) -> dict[str, str]:
    """How it may stand in text, each with its pattern: as it is, line by line, and encoded."""
    whole = value.strip()
    lines = [line.strip() for line in whole.splitlines()]
    parts = {line for line in lines if len(line) >= _PIECE} or {whole}
    parts |= {*_VALUE.findall(value), *_PASSWORD.findall(value)}
    forms = {part: re.escape(part) for part in (value, whole)}
    for piece in {piece for part in parts for piece in _pieces(part)}:
        forms |= _encoded(piece)
    return {form: wanted for form, wanted in forms.items() if len(form) >= SHORTEST}


def _pieces(part: str) -> Iterator[str]:
    """It in pieces that are as long as each other: a long one is a slow pattern."""
    size = -(-len(part) // -(-len(part) // _LONGEST)) if part else 1
    return (part[begin : begin + size] for begin in range(0, len(part), size))


def _encoded(part: str) -> dict[str, str]:
    raw = part.encode("utf-8", "surrogatepass")
    # PowerShell encodes what has two bytes a character.
    wide = part.encode("utf-16-le", "surrogatepass")
    in_64 = {one for by in _BASE_64 for one in _aligned(raw, by, 3, 6)}
    others = {one for by in _BASE_64 for one in _aligned(wide, by, 3, 6)}
    in_32 = set(_aligned(raw, base64.b32encode, 5, 5))
    others |= {*in_32, *(one.lower() for one in in_32), raw.hex(), raw.hex().upper()}
    spelt = {part, *_spelt(part)}
    # A document within a document, and a header within an address.
    spelt |= {twice for once in spelt for twice in _spelt(once)}
    spelt |= {quote(one, safe="") for one in in_64}
    forms = {form: re.escape(form) for form in spelt | others}
    return forms | {form: _WRAP.join(map(re.escape, form)) for form in in_64}


def _spelt(text: str) -> set[str]:
    """As formats write text that holds what has a meaning in them."""
    quoted = {quote(text, safe=safe, errors="replace") for safe in ("", "/")}
    quoted.add(quote_plus(text, errors="replace"))
    quoted |= {re.sub("%..", lambda found: found[0].lower(), one) for one in quoted}
    marked = {html.escape(text, quote=quotes) for quotes in (True, False)}
    marked |= {text.translate(_NUMERIC), text.translate(_MARKUP)}
    json_text = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    json_text |= {one.replace("/", "\\/") for one in json_text}
    return quoted | marked | json_text | {repr(text)[1:-1], ascii(text)[1:-1]}


def _aligned(raw: bytes, encode: Callable[[bytes], bytes], group: int, bits: int) -> Iterator[str]:
    """What stays the same wherever it begins within what is encoded: ``user:secret`` too.

    Args:
        raw: what is encoded.
        encode: by this, a group of bytes at a time.
        group: bytes of one.
        bits: that a character stands for.
    """
    for shift in range(group):
        text = encode(b"\0" * shift + raw).decode().rstrip("=")
        # Characters on either edge hold bits of what stands beside it.
        yield text[-(-8 * shift // bits) : 8 * (shift + len(raw)) // bits]
