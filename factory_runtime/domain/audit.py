"""The chain of seals over the audit: each digest holds the one before it, so nothing is rewritten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.records import AuditEntry

_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are meant; all that is given must hold.

    Attributes:
        until: itself no longer in.
    """

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditSeal:
    """An entry's place in its tenant's chain: never changed, never removed.

    Attributes:
        number: from 1, without a gap.
        digest: SHA-256, as ``seal_digest`` has it.
    """

    tenant_id: str
    number: int
    entry_id: str
    digest: str
    sealed_at: datetime

    @property
    def head(self) -> Head:
        return Head(self.number, self.digest)


@dataclass(frozen=True, slots=True)
class Unsealed:
    """An entry that waits for its seal."""

    tenant_id: str
    entry_id: str


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain went: noted elsewhere, it proves that nothing before it was rewritten."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


class Tampering(StrEnum):
    """What was done to the audit."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where an audit is not what was sealed.

    Attributes:
        number: in the chain; None where the entry is in no place of it.
        entry_id: None where even that is gone.
    """

    kind: Tampering
    number: int | None
    entry_id: str | None
    message: str


def parse_head(text: str) -> Head:
    """A head as it was noted.

    Raises:
        InputError: it is none.
    """
    found = _HEAD.fullmatch(text.strip())
    if found is None:
        raise InputError(
            f"{text[:100]!r} is no head of a chain", hint="it is NUMBER:DIGEST, with 64 hex digits"
        )
    return Head(int(found[1]), found[2])


def seal_digest(previous: str, number: int, sealed_at: datetime, entry: AuditEntry) -> str:
    """SHA-256 of the canonical JSON of the digest before, the seal's own facts and the entry.

    Fields of the entry that are empty are left out: one that a later release adds changes no
    digest of what was sealed before it.

    Args:
        previous: 64 hex digits; empty for the first of a chain.
        number: of this seal.
        sealed_at: aware.
        entry: as the store gives it.
    """
    seal = {"previous": previous, "number": number, "sealed_at": sealed_at.isoformat()}
    return digest_of({**seal, "entry": _facts(entry)})


def _facts(entry: AuditEntry) -> Mapping[str, Any]:
    values = {field.name: getattr(entry, field.name) for field in fields(entry)}
    values["at"] = entry.at.isoformat()
    return {name: value for name, value in values.items() if value is not None}
