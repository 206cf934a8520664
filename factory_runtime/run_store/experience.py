"""The run store's transaction: what was seen, what came of what was learned, what is forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, distinct, func, select, tuple_

from factory_runtime.domain.ids import new_id
from factory_runtime.domain.memory import (
    ContextPackage,
    ForgetScope,
    Forgotten,
    MemoryUse,
    Observation,
    ObservationKind,
    Reuse,
)
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store.memories import parts
from factory_runtime.run_store.paging import equal
from factory_runtime.run_store.records import FORGOTTEN, OBSERVATIONS, PACKAGES, USES, Record
from factory_runtime.run_store.rows import Condition, TenantRows
from factory_runtime.run_store.tables import (
    memory_forgotten,
    memory_observations,
    memory_packages,
    memory_uses,
    runs,
)


class Experience:
    """Part of ``ports.MemoryRecords``; the other is ``Memories``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    # what was seen

    def add_observations(self, observations: Iterable[Observation]) -> None:
        self._rows.insert_where_absent(OBSERVATIONS, observations)

    def list_observations(
        self,
        *,
        subject: str | None = None,
        run_id: str | None = None,
        project_id: str | None = None,
        projects: Collection[str] | None = None,
        kind: ObservationKind | None = None,
        limit: int = 1000,
    ) -> tuple[Observation, ...]:
        columns = memory_observations.c
        where = equal(
            (columns.subject, subject),
            (columns.run_id, run_id),
            (columns.project_id, project_id),
            (columns.kind, kind),
        )
        if projects is not None:
            where = [*where, columns.project_id.in_(projects)]
        newest_first = (
            columns.at.desc(),
            columns.subject.desc(),
            columns.run_id.desc(),
            columns.step.desc(),
            columns.cycle.desc(),
            columns.place.desc(),
        )
        found = self._rows.list(OBSERVATIONS, *where, order_by=newest_first, limit=limit)
        return tuple(reversed(found))

    def delete_observations(
        self,
        *,
        subject: str | None = None,
        run_id: str | None = None,
        project_id: str | None = None,
        kind: ObservationKind | None = None,
        limit: int | None = None,
    ) -> tuple[str, ...]:
        columns = memory_observations.c
        where = equal(
            (columns.subject, subject),
            (columns.run_id, run_id),
            (columns.project_id, project_id),
            (columns.kind, kind),
        )
        if limit is None:
            mine = (columns.tenant_id == self._rows.tenant_id, *where)
            query = select(columns.subject).where(*mine).distinct()
            subjects = {subject for (subject,) in self._rows.select(query)}
            self._rows.delete(OBSERVATIONS, *where)
        else:
            gone = self._delete_some(OBSERVATIONS, where, limit, columns.subject)
            subjects = {one.subject for one in gone}
        return tuple(sorted(subjects))

    # what came of it

    def add_uses(self, uses: Iterable[MemoryUse]) -> None:
        self._rows.insert_where_absent(USES, uses)

    def mark_used(self, run_id: str, memory_ids: Collection[str], at: datetime) -> None:
        columns = memory_uses.c
        where = (columns.run_id == run_id, columns.used_at.is_(None))
        for some in parts(memory_ids):
            self._rows.update(USES, {"used_at": at}, *where, columns.memory_id.in_(some))

    def list_uses(
        self, *, run_id: str | None = None, memory_id: str | None = None, limit: int = 1000
    ) -> tuple[MemoryUse, ...]:
        columns = memory_uses.c
        where = equal((columns.run_id, run_id), (columns.memory_id, memory_id))
        order = (columns.shown_at, columns.run_id, columns.step, columns.rank, columns.memory_id)
        return self._rows.list(USES, *where, order_by=order, limit=limit)

    def count_reuse(self) -> Reuse:
        columns = memory_uses.c
        of_run = and_(runs.c.tenant_id == columns.tenant_id, runs.c.id == columns.run_id)
        used = columns.used_at.is_not(None)
        well = and_(used, runs.c.status == RunStatus.SUCCEEDED)
        counts = (
            func.count(distinct(columns.run_id)),
            func.count(distinct(case((used, columns.run_id)))),
            func.count(distinct(case((well, columns.run_id)))),
        )
        joined = memory_uses.outerjoin(runs, of_run)
        mine = columns.tenant_id == self._rows.tenant_id
        ((shown, used_by, succeeded),) = self._rows.select(
            select(*counts).select_from(joined).where(mine)
        )
        return Reuse(shown, used_by, succeeded)

    def unname_uses(self, memory_ids: Collection[str]) -> None:
        columns = memory_uses.c
        mine = columns.tenant_id == self._rows.tenant_id
        for some in parts(memory_ids):
            used = select(columns.memory_id).where(mine, columns.memory_id.in_(some)).distinct()
            for (id_,) in self._rows.select(used):
                nameless = {"memory_id": new_id("forgotten")}
                self._rows.update(USES, nameless, columns.memory_id == id_)

    def delete_uses(
        self,
        *,
        run_id: str | None = None,
        project_id: str | None = None,
        limit: int | None = None,
    ) -> int:
        columns = memory_uses.c
        where = equal((columns.run_id, run_id), (columns.project_id, project_id))
        if limit is None:
            return self._rows.delete(USES, *where)
        return len(self._delete_some(USES, where, limit))

    def _delete_some(
        self,
        record: Record[Any],
        where: Sequence[Condition],
        limit: int,
        *order_by: ColumnElement[Any],
    ) -> Sequence[Row[Any]]:
        """So many rows, the first in an order that an index has: these are gone now."""
        table = record.table
        key, mine = table.primary_key.columns, table.c.tenant_id == self._rows.tenant_id
        # All columns: of its key alone, SQLite would rather read all that the tenant has.
        query = select(table).where(mine, *where).order_by(*order_by).limit(limit)
        rows = self._rows.select(query)
        if rows:
            keys = [[getattr(row, column.name) for column in key] for row in rows]
            self._rows.delete(record, tuple_(*key).in_(keys))
        return rows

    # what is to be forgotten

    def overwrite_deleted(self) -> None:
        self._rows.overwrite_deleted()

    def add_forgotten(self, forgotten: Forgotten) -> None:
        self._rows.put(FORGOTTEN, forgotten, key=("tenant_id", "scope", "key"))

    def find_forgotten(self, scope: ForgetScope, key: str) -> Forgotten | None:
        return self._rows.find(FORGOTTEN, scope=scope, key=key)

    def forgotten_since(self, at: datetime) -> bool:
        return self._rows.count(FORGOTTEN, memory_forgotten.c.at >= at) > 0

    # context packages

    def add_package(self, package: ContextPackage) -> None:
        self._rows.insert(PACKAGES, [package])

    def find_package(self, package_id: str) -> ContextPackage | None:
        return self._rows.find(PACKAGES, id=package_id)

    def find_package_of(self, task_digest: str, now: datetime) -> ContextPackage | None:
        columns = memory_packages.c
        found = self._rows.list(
            PACKAGES,
            columns.task_digest == task_digest,
            columns.expires_at > now,
            order_by=(columns.created_at.desc(), columns.id.desc()),
            limit=1,
        )
        return found[0] if found else None

    def drop_packages(self, expired_at: datetime) -> int:
        return self._rows.delete(PACKAGES, memory_packages.c.expires_at <= expired_at)
