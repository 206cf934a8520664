"""A Notice: something that people want to be told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class NoticeKind(StrEnum):
    """What it is about."""

    DEAD_LETTER = "dead-letter"
    RUN_COMPLETE = "run-complete"
    APPROVAL_WANTED = "approval-wanted"
    RUN_STUCK = "run-stuck"


class Severity(StrEnum):
    """How much it matters; the notifier shows it in its own way."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told, and to whom is decided later, by the tenant's policy.

    Attributes:
        key: the same notice left twice is one, also where a transaction is repeated.
        title: one line.
        body: what happened, what was done instead, what a person can do: a few lines of text.
        facts: ids and numbers of ours, for machines.
    """

    tenant_id: str
    kind: NoticeKind
    key: str
    title: str
    body: str
    at: datetime
    severity: Severity = Severity.INFO
    run_id: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


def notice_to_payload(notice: Notice) -> dict[str, Any]:
    """The notice as JSON, for the outbox."""
    return {
        "tenant_id": notice.tenant_id,
        "kind": notice.kind.value,
        "key": notice.key,
        "title": notice.title,
        "body": notice.body,
        "at": notice.at.isoformat(),
        "severity": notice.severity.value,
        "run_id": notice.run_id,
        "facts": dict(notice.facts),
    }


def notice_from_payload(payload: Mapping[str, Any]) -> Notice:
    """The notice that ``notice_to_payload`` wrote."""
    return Notice(
        tenant_id=payload["tenant_id"],
        kind=NoticeKind(payload["kind"]),
        key=payload["key"],
        title=payload["title"],
        body=payload["body"],
        at=datetime.fromisoformat(payload["at"]),
        severity=Severity(payload["severity"]),
        run_id=payload["run_id"],
        facts=payload["facts"],
    )
