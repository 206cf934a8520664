"""Write down what somebody decided, in the transaction that does it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import AuditEntry
from factory_runtime.ports import RunTransaction


def leave_audit(
    tx: RunTransaction,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> None:
    """Add one entry, like ``run.undo`` of a run's id."""
    tx.add_audit([AuditEntry(tx.tenant_id, new_id("aud"), now, actor, action, subject, detail)])
