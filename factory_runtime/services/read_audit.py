"""Read the audit in parts."""

from __future__ import annotations

from factory_runtime.domain.audit import AuditFilter
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.records import AuditEntry
from factory_runtime.ports import Page, RunTransaction


def read_audit(
    tx: RunTransaction, where: AuditFilter, *, limit: int, cursor: str | None = None
) -> Page[AuditEntry]:
    """Entries, the newest first; the cursor is the id of the last one shown.

    Raises:
        InputError: the cursor is none of ours.
    """
    last = None
    if cursor is not None:
        found = tx.find_audit([cursor])
        if not found:
            raise InputError("the cursor is not one of ours", hint="begin without a cursor")
        last = found[0]
    entries = tx.list_audit(where, limit=limit + 1, before=last)
    shown = entries[:limit]
    return Page(shown, shown[-1].id if len(entries) > limit else None)
