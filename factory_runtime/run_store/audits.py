"""The run store's transaction: who did what, and the chain over it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import exists

from factory_runtime.domain.audit import AuditFilter, AuditSeal
from factory_runtime.domain.errors import StaleVersionError
from factory_runtime.domain.records import AuditEntry
from factory_runtime.run_store.paging import beyond, equal, within
from factory_runtime.run_store.records import AUDIT, SEALS, UNSEALED
from factory_runtime.run_store.rows import Condition, TenantRows
from factory_runtime.run_store.tables import audit, audit_seals, audit_unsealed


class Audits:
    """``ports.AuditRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    def add_audit(self, entries: Iterable[AuditEntry]) -> None:
        self._rows.insert(AUDIT, entries)

    def list_audit(
        self,
        where: AuditFilter | None = None,
        *,
        subject: str | None = None,
        limit: int = 200,
        before: AuditEntry | None = None,
    ) -> tuple[AuditEntry, ...]:
        conditions = _conditions(where or AuditFilter(subject=subject))
        if before is not None:
            conditions.append(beyond(audit.c.at, audit.c.id, before.at, before.id, rising=False))
        order = (audit.c.at.desc(), audit.c.id.desc())
        return self._rows.list(AUDIT, *conditions, order_by=order, limit=limit)

    def find_audit(self, entry_ids: Collection[str]) -> tuple[AuditEntry, ...]:
        return self._rows.list(AUDIT, audit.c.id.in_(entry_ids)) if entry_ids else ()

    def unsealed_audit(self, limit: int) -> tuple[AuditEntry, ...]:
        waiting = self._rows.list(UNSEALED, order_by=(audit_unsealed.c.entry_id,), limit=limit)
        found = self.find_audit([one.entry_id for one in waiting])
        return tuple(sorted(found, key=lambda entry: entry.id))

    def count_unsealed(self) -> int:
        return self._rows.count(UNSEALED)

    def stray_audit(self, limit: int) -> tuple[AuditEntry, ...]:
        unknown = [
            ~exists().where(table.c.tenant_id == audit.c.tenant_id, table.c.entry_id == audit.c.id)
            for table in (audit_seals, audit_unsealed)
        ]
        return self._rows.list(AUDIT, *unknown, order_by=(audit.c.at, audit.c.id), limit=limit)

    def lost_audit(self, limit: int) -> tuple[str, ...]:
        columns = audit_unsealed.c
        there = exists().where(
            audit.c.tenant_id == columns.tenant_id, audit.c.id == columns.entry_id
        )
        lost = self._rows.list(UNSEALED, ~there, order_by=(columns.entry_id,), limit=limit)
        return tuple(one.entry_id for one in lost)

    def last_seal(self) -> AuditSeal | None:
        last = self._rows.list(SEALS, order_by=(audit_seals.c.number.desc(),), limit=1)
        return last[0] if last else None

    def list_seals(self, *, after: int, limit: int) -> tuple[AuditSeal, ...]:
        number = audit_seals.c.number
        return self._rows.list(SEALS, number > after, order_by=(number,), limit=limit)

    def add_seals(self, seals: Sequence[AuditSeal]) -> None:
        if not seals:
            return
        first, *others = seals
        # A sealer that came at the same time has begun with this number too.
        if not self._rows.insert_if_absent(SEALS, first):
            raise StaleVersionError(f"seal {first.number} of {first.tenant_id} stands already")
        self._rows.insert(SEALS, others)
        sealed = [seal.entry_id for seal in seals]
        self._rows.delete(UNSEALED, audit_unsealed.c.entry_id.in_(sealed))


def _conditions(where: AuditFilter) -> list[Condition]:
    conditions = equal(
        (audit.c.actor, where.actor),
        (audit.c.action, where.action),
        (audit.c.subject, where.subject),
        (audit.c.trace_id, where.trace_id),
    )
    return conditions + within(audit.c.at, where.since, where.until)
