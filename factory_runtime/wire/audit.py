"""The audit, as it is told of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from factory_runtime.domain.audit import AuditSeal
from factory_runtime.domain.records import AuditEntry
from factory_runtime.wire.base import Answer


class AuditEntryAnswer(Answer):
    """Who did what to what, from where."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "aud-01k7q4x2m8f0c5d3h9j6n1p4rs",
                    "at": "2026-11-21T12:00:00Z",
                    "actor": "ada",
                    "action": "run.cancel",
                    "subject": "run-01k7q4w9d2e5f8g1h4j7k0m3np",
                    "detail": {"undo": False},
                    "origin": "203.0.113.7",
                    "keyId": "key-01k7q4t6a9b2c5d8e1f4g7h0jk",
                    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                }
            ]
        }
    )

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] = Field(default_factory=dict)
    origin: str | None = Field(
        default=None, description="an address, or `cli`; null where the factory did it by itself"
    )
    key_id: str | None = None
    trace_id: str | None = None

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditEntryAnswer:
        """What an entry says."""
        return cls(**{name: getattr(entry, name) for name in cls.model_fields})


class AuditHead(Answer):
    """How far the tenant's chain goes: noted elsewhere, it proves that nothing was rewritten."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "number": 1204,
                    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "sealedAt": "2026-11-21T12:00:30Z",
                    "unsealed": 3,
                }
            ]
        }
    )

    number: int = Field(description="of the last seal; 0 where nothing is sealed yet")
    digest: str | None = None
    sealed_at: datetime | None = None
    unsealed: int = Field(description="entries that wait for their seal")

    @classmethod
    def of(cls, last: AuditSeal | None, unsealed: int) -> AuditHead:
        """What the last seal says."""
        if last is None:
            return cls(number=0, unsealed=unsealed)
        return cls(
            number=last.number, digest=last.digest, sealed_at=last.sealed_at, unsealed=unsealed
        )
