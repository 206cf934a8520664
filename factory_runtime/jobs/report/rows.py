"""Rows out of CSV or JSON, as a stream: nothing of it is trusted, and little of it is in memory."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, Literal, cast

from factory_runtime.domain.errors import UnreadableDataError

Format = Literal["csv", "json"]
Row = Mapping[str, Any]
"""By the names of the columns. A value that is not there is not among them."""

MAX_COLUMNS = 200
_NAME_LENGTH = 60
_CHUNK = 64 * 1024
_OFTEN = 1000
_LONGEST_LINE = 1024 * 1024
"""Characters; of a row of JSON as well. The fields of CSV are bounded by its reader."""

_DELIMITERS = ",;\t|"
_QUOTED = re.compile('"[^"]*"')
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_SHOWN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+")


@dataclass(frozen=True, slots=True)
class Shape:
    """What rows there are.

    Attributes:
        rows: how many.
        columns: their names, in the order in which they come.
    """

    rows: int
    columns: tuple[str, ...]


def shape_of(body: BinaryIO, format_: Format, check: Callable[[], None] = lambda: None) -> Shape:
    """Read all of it once.

    Args:
        body: the rows.
        format_: what they are.
        check: called now and then; it raises where nobody wants to know any more.

    Raises:
        UnreadableDataError: it is not what it should be, to its end.
    """
    rows, columns = 0, dict[str, None]()
    for row in read_rows(body, format_):
        if rows % _OFTEN == 0:
            check()
        rows += 1
        columns.update(dict.fromkeys(row))
    return Shape(rows, tuple(columns))


def read_rows(body: BinaryIO, format_: Format) -> Iterator[Row]:
    """Row by row; empty lines are none.

    Text is UTF-8, or UTF-16 where it begins with a byte order mark.

    Raises:
        UnreadableDataError: it is not what it should be.
    """
    text = _decoded(body)
    rows = _csv_rows(text) if format_ == "csv" else _json_rows(text)
    try:
        yield from rows
    except UnicodeDecodeError as exc:
        raise UnreadableDataError(
            f"the text is not {exc.encoding}: {exc.reason}", hint="send it as UTF-8"
        ) from exc
    except csv.Error as exc:
        raise UnreadableDataError(f"this is not CSV: {exc}") from exc
    except RecursionError as exc:
        raise UnreadableDataError("this JSON is nested too deep") from exc


def clean(text: str) -> str:
    """The text on one line, short, and storable: what is not shown becomes a space."""
    whole = text.encode("utf-8", "replace").decode()
    line = _NOT_SHOWN.sub(" ", whole).strip()
    return line if len(line) <= _NAME_LENGTH else f"{line[: _NAME_LENGTH - 1]}…"


def _decoded(body: BinaryIO) -> Iterator[str]:
    first = body.read(_CHUNK)
    encoding = "utf-16" if first.startswith(_UTF16) else "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    for chunk in chain([first], iter(lambda: body.read(_CHUNK), b"")):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


# CSV


def _csv_rows(text: Iterator[str]) -> Iterator[Row]:
    lines = _lines(text)
    header = next((line for line in lines if line.strip()), None)
    if header is None:
        raise UnreadableDataError("there is nothing in it", hint="its first line names the columns")
    delimiter = max(_DELIMITERS, key=_QUOTED.sub("", header).count)
    reader = csv.reader(chain([header], lines), delimiter=delimiter)
    names = _names(next(reader))
    for values in reader:
        if values:
            yield dict(zip(names, values, strict=False))


def _lines(text: Iterator[str]) -> Iterator[str]:
    """Lines with their ends. Only a line feed ends one: other separators may stand in a field."""
    rest = ""
    for chunk in text:
        *whole, rest = (rest + chunk).split("\n")
        for line in whole:
            yield f"{line}\n"
        if len(rest) > _LONGEST_LINE:
            raise UnreadableDataError(f"a line is longer than {_LONGEST_LINE} characters")
    if rest:
        yield rest


def _names(header: list[str]) -> list[str]:
    if len(header) > MAX_COLUMNS:
        raise _too_wide()
    names = dict[str, None]()
    for given in header:
        names[_new_name(given, names)] = None
    return list(names)


def _new_name(given: str, taken: Collection[str]) -> str:
    name = clean(given) or f"column {len(taken) + 1}"
    others = (f"{name} ({number})" for number in range(2, MAX_COLUMNS + 2))
    return next(one for one in chain([name], others) if one not in taken)


# JSON


def _json_rows(text: Iterator[str]) -> Iterator[Row]:
    known = dict[str, str]()
    for value in _json_values(text):
        if not isinstance(value, dict):
            raise UnreadableDataError("a row is no object", hint='rows are like {"month": 3}')
        row = cast("dict[str, Any]", value)
        for key in row:
            if key not in known:
                known[key] = _new_name(key, known.values())
                if len(known) > MAX_COLUMNS:
                    raise _too_wide()
        yield {known[key]: value for key, value in row.items()}


def _json_values(text: Iterator[str]) -> Iterator[Any]:
    """The elements of an array, or one value after the other, decoded one at a time."""
    window = _Window(text)
    is_array = window.next_mark() == "["
    if is_array:
        window.skip()
    elif not window.next_mark():
        raise UnreadableDataError("there is nothing in it", hint="no rows are []")
    is_first = True
    while (mark := window.next_mark()) and mark != "]":
        if is_array and not is_first:
            if mark != ",":
                raise UnreadableDataError(f"{mark!r} where a comma should be")
            window.skip()
        yield window.value()
        is_first = False
    if is_array != (mark == "]"):
        raise UnreadableDataError("the JSON is cut off" if is_array else "a ] without its [")
    if is_array:
        window.skip()
    if window.next_mark():
        raise UnreadableDataError("something follows the JSON")


class _Window:
    """The part of a text that is looked at."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self._part = ""
        self._at = 0
        # A number of any length is a float, so that none takes long to read.
        self._decoder = json.JSONDecoder(parse_int=float)

    def next_mark(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._part):
                if self._part[self._at] not in " \t\r\n":
                    return self._part[self._at]
                self._at += 1
            if not self._more():
                return ""

    def skip(self) -> None:
        self._at += 1

    def value(self) -> Any:
        if self.next_mark() != "{":  # of any other value, a part may pass for the whole
            raise UnreadableDataError("a row is no object", hint='rows are like {"month": 3}')
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._part, self._at)
            except json.JSONDecodeError as exc:
                held = len(self._part) - self._at
                if held > _LONGEST_LINE:
                    raise UnreadableDataError(f"a row is no JSON: {exc.msg}") from exc
                # Twice as much each time: else a long row is decoded once for each of its chunks.
                if not self._more(min(2 * held, _LONGEST_LINE + 1)):
                    raise UnreadableDataError(f"the JSON is cut off: {exc.msg}") from exc
            else:
                return value

    def _more(self, wanted: int = 0) -> bool:
        """Read on, until so many characters are there or the text ends; False at its end."""
        parts = [self._part[self._at :]]
        held = len(parts[0])
        for chunk in self._text:
            parts.append(chunk)
            held += len(chunk)
            if held >= wanted:
                break
        if len(parts) == 1:
            return False
        self._part, self._at = "".join(parts), 0
        return True


def _too_wide() -> UnreadableDataError:
    return UnreadableDataError(
        f"there are more than {MAX_COLUMNS} columns", hint="leave out what is not needed"
    )
