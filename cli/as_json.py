"""Values as JSON for other programs: one document on standard output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, cast


def to_json(value: Any) -> Any:
    """The value in plain JSON types: times in ISO 8601, durations in seconds."""
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Path():
            return str(value)
        case Mapping():
            items = cast(Mapping[Any, Any], value).items()
            return {str(key): to_json(inner) for key, inner in items}
        case str() | int() | float() | None:
            return value
        case Sequence() | frozenset():
            return [to_json(inner) for inner in cast(Sequence[Any], value)]
        case _ if is_dataclass(value):
            return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
        case _:
            return str(value)


def without(value: Any, *names: str) -> dict[str, Any]:
    """A dataclass as JSON, some of its fields left out."""
    return {key: inner for key, inner in to_json(value).items() if key not in names}


def print_json(value: Any) -> None:
    """Write one document."""
    print(json.dumps(to_json(value), indent=2, ensure_ascii=False))
