"""Moments as requests spell them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")


def _written(value: object) -> object:
    if isinstance(value, str) and _DATE.match(value) is None:  # Pydantic reads numbers as times too
        raise ValueError("write it like 2026-01-31T12:00:00Z")
    return value


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("that is before or after all times") from exc


Time = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_utc)] | None
