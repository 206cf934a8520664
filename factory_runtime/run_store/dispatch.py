"""The dispatcher's transaction: over all tenants, one dispatcher at a time."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, Select, func, or_, select

from factory_runtime.domain.records import Lock
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunKey
from factory_runtime.run_store.rows import LOCKS, TenantRows
from factory_runtime.run_store.tables import runs
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.run_store.translate import translated

_NOBODY = "*"
"""No tenant is called that: the row that dispatchers queue for belongs to none."""

_UNDER_WAY = (RunStatus.VALIDATED, RunStatus.QUEUED, RunStatus.RUNNING)


def waiting_runs(now: datetime, limit: int) -> Select[tuple[str, str]]:
    """Keys of the runs that want a slot, the first one first."""
    return (
        select(runs.c.tenant_id, runs.c.id)
        .where(
            runs.c.completed_at.is_(None),
            runs.c.admitted_at.is_(None),
            runs.c.pause_requested_at.is_(None),
            runs.c.cancel_requested_at.is_(None),
            or_(
                runs.c.status.in_(_UNDER_WAY),
                (runs.c.status == RunStatus.WAITING) & (runs.c.wake_at <= now),
            ),
        )
        .order_by(runs.c.priority, runs.c.requested_at, runs.c.id)
        .limit(max(limit, 0))  # to SQLite a negative one is none
    )


class SqlDispatch:
    """``ports.DispatchTransaction``."""

    def __init__(self, connection: Connection, place: str) -> None:
        self._connection = connection
        self._place = place

    def take_turn(self) -> None:
        """Wait until no other dispatcher is at it. SQLite has one writer at a time anyway."""
        rows = TenantRows(self._connection, _NOBODY, self._place)
        while rows.many_writers and not rows.lock(LOCKS, name="dispatch"):
            rows.insert_if_absent(
                LOCKS, Lock(_NOBODY, "dispatch", "", datetime.max.replace(tzinfo=UTC))
            )

    def count_admitted(self) -> int:
        query = select(func.count()).select_from(runs).where(runs.c.admitted_at.is_not(None))
        with translated(self._place):
            return self._connection.execute(query).scalar_one()

    def waiting_runs(self, now: datetime, limit: int = 10) -> tuple[RunKey, ...]:
        with translated(self._place):
            return tuple(RunKey(*row) for row in self._connection.execute(waiting_runs(now, limit)))

    def of_tenant(self, tenant_id: str) -> SqlTransaction:
        return SqlTransaction(TenantRows(self._connection, tenant_id, self._place))
