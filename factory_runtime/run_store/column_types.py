"""Column types: how the core's values lie in SQLite and PostgreSQL, the same in both.

Only strings, integers, floats, bytes and times reach the database, so that no query depends on
what one product can do with JSON or enums.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter
from sqlalchemy import DateTime, Dialect, LargeBinary, SmallInteger, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.run import Priority

E = TypeVar("E", bound=StrEnum)

_RANKS: Mapping[Priority, int] = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_PRIORITIES = {rank: priority for priority, rank in _RANKS.items()}


def clean_text(text: str) -> str:
    """The text without what PostgreSQL or UTF-8 cannot hold: NUL and lone surrogates."""
    if "\x00" in text:
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class CleanText(TypeDecorator[str]):
    """Text of at most ``length`` characters, ordered by code point on every database."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(self.length, collation=collation))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)


class LongText(TypeDecorator[str]):
    """Text for people, as long as it likes; never looked up."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)


class EnumText(TypeDecorator[E]):
    """The value of a ``StrEnum``; an unknown one raises ``ValueError`` when it is read."""

    impl = String
    cache_ok = True

    def __init__(self, of: type[E]) -> None:
        super().__init__(32)
        self.of = of

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> E | None:
        return None if value is None else self.of(value)


class PriorityRank(TypeDecorator[Priority]):
    """A priority as a number that sorts: the lower goes first."""

    impl = SmallInteger
    cache_ok = True

    def process_bind_param(self, value: Priority | None, dialect: Dialect) -> int | None:
        return None if value is None else _RANKS[value]

    def process_result_value(self, value: int | None, dialect: Dialect) -> Priority | None:
        return None if value is None else _PRIORITIES[value]


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC to the microsecond. A naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone")
        value = value.astimezone(UTC)
        # SQLite keeps text; without an offset every value has one shape and sorts as time does.
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class JsonText(TypeDecorator[Any]):
    """JSON in a text column. Keys keep their order: forms show properties as declared."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class NamesText(JsonText):
    """A tuple of names, as a JSON list."""

    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else tuple(json.loads(value))


class TupleText(TypeDecorator[tuple[Any, ...]]):
    """A tuple of small values of one kind, as a JSON list."""

    impl = Text
    cache_ok = True

    def __init__(self, of: type[Any]) -> None:
        super().__init__()
        self.of = of

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else _dump(_tuples_of(self.of).dump_python(value, mode="json"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[Any, ...] | None:
        return None if value is None else _tuples_of(self.of).validate_json(value)


class BodyText(TypeDecorator[Body]):
    """A body: ``{"inline": …}`` or ``{"reference": {…}}``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Body | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if value.reference is not None:
            return _dump({"reference": asdict(value.reference)})
        return _dump({"inline": value.inline})

    def process_result_value(self, value: str | None, dialect: Dialect) -> Body | None:
        if value is None:
            return None
        stored = json.loads(value)
        if "reference" in stored:
            return Body(reference=BodyReference(**stored["reference"]))
        return Body(inline=stored["inline"])


class VectorBytes(TypeDecorator[tuple[float, ...]]):
    """A vector as little-endian float32: what embedders give, at half of a double's size."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: tuple[float, ...] | None, dialect: Dialect) -> bytes | None:
        return None if value is None else struct.pack(f"<{len(value)}f", *value)

    def process_result_value(
        self, value: bytes | None, dialect: Dialect
    ) -> tuple[float, ...] | None:
        return None if value is None else struct.unpack(f"<{len(value) // 4}f", value)


@cache
def _tuples_of(kind: type[Any]) -> TypeAdapter[tuple[Any, ...]]:
    return TypeAdapter(cast("Any", tuple)[kind, ...])


def _dump(value: Any) -> str:
    # ASCII only: JSON may carry "\u0000" and half a surrogate pair, a text column may not.
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
