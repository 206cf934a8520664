"""The dispatcher's transaction: over all tenants, one dispatcher at a time.

However many runs stand in the queue, a look at it is one look into an index for each tenant: the
first run of each, and no more of them than are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    ScalarSelect,
    Select,
    String,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
    type_coerce,
)

from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunKey, SlotHolder, WaitingRun
from factory_runtime.run_store.column_types import UtcTime
from factory_runtime.run_store.queues import RUN_SLOTS, SqlServed, SqlTopicQueue, take_turn
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.run_store.tables import (
    runs,
    set_asides,
    stands_in_queue,
    waits_for_a_time,
)
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.run_store.translate import translated

_UNDER_WAY = (RunStatus.VALIDATED, RunStatus.QUEUED, RunStatus.RUNNING)


def waiting_runs(now: datetime, limit: int) -> Select[tuple[str, str]]:
    """Keys of the runs of all tenants that want a slot, by priority and age."""
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


# Built once: that costs more than a database needs to carry them out.


@cache
def queue_heads(*, lateral: bool) -> Select[Any]:
    """Of each tenant with runs in the queue the first; wants ``now``.

    PostgreSQL may read all runs through where it is free to choose how to join them; ``lateral``, it
    is not. SQLite knows no such join, and has no other way than through the key.
    """
    first, after, head = runs.alias("first"), runs.alias("after"), runs.alias("head")
    # The databases have no way to skip along an index from tenant to tenant; this is one. Ordered
    # by the whole of the index, it is the only one that serves, whatever a planner thinks of others.
    tenants = select(_first_tenant(first).label("tenant_id")).cte("tenants", recursive=True)
    following = _first_tenant(after, after.c.tenant_id > tenants.c.tenant_id)
    tenants = tenants.union_all(select(following).where(tenants.c.tenant_id.is_not(None)))
    its_first = (
        select(*_columns(head))
        .where(
            stands_in_queue(head),
            head.c.tenant_id == tenants.c.tenant_id,
            ~_is_set_aside(head),
        )
        .order_by(*_place(head))
        .limit(1)
        .correlate(tenants)
    )
    if lateral:
        heads = its_first.lateral()
        return select(*heads.c).select_from(tenants.join(heads, true()))
    its_id = its_first.with_only_columns(head.c.id).scalar_subquery()
    is_it = (runs.c.tenant_id == tenants.c.tenant_id) & (runs.c.id == its_id)
    return select(*_columns(runs)).select_from(tenants.join(runs, is_it))


@cache
def woken_heads() -> Select[Any]:
    """Of each tenant with Waiting runs whose time has come the first; wants ``now``."""
    place = func.row_number().over(partition_by=runs.c.tenant_id, order_by=_place(runs))
    woken = select(*_columns(runs), place.label("place")).where(*_is_woken()).subquery()
    columns: list[ColumnElement[Any]] = [column for column in woken.c if column.name != "place"]
    return select(*columns).where(woken.c.place == 1)


@cache
def queued_of(*, without_projects: bool) -> Select[Any]:
    """A tenant's runs in the queue; wants ``now``, ``tenant_id``, ``most`` and ``projects``."""
    # By tenant, too, which is the same for all: so that one index alone serves.
    order = (runs.c.tenant_id, *_place(runs))
    of_tenant = _of_tenant(without_projects)
    queued = (stands_in_queue(runs), ~_is_set_aside(runs), *of_tenant)
    return select(*_columns(runs)).where(*queued).order_by(*order).limit(_MOST)


@cache
def woken_of(*, without_projects: bool) -> Select[Any]:
    """A tenant's Waiting runs whose time has come; wants what ``queued_of`` wants."""
    woken = (*_is_woken(), *_of_tenant(without_projects))
    return select(*_columns(runs)).where(*woken).order_by(*_place(runs)).limit(_MOST)


_NOW = bindparam("now", type_=UtcTime)
_MOST = bindparam("most", type_=Integer)


def _first_tenant(table: FromClause, *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    query = select(table.c.tenant_id).where(stands_in_queue(table), *conditions)
    return query.order_by(table.c.tenant_id, *_place(table)).limit(1).scalar_subquery()


def _of_tenant(without_projects: bool) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [runs.c.tenant_id == bindparam("tenant_id")]
    if without_projects:
        conditions.append(runs.c.project_id.not_in(bindparam("projects", expanding=True)))
    return conditions


def _place(table: FromClause) -> tuple[ColumnElement[Any], ...]:
    return table.c.priority, table.c.requested_at, table.c.id


def _columns(table: FromClause) -> tuple[ColumnElement[Any], ...]:
    # Ranks and times as they lie in the table: a damaged one is found out with its run, alone.
    return (
        table.c.tenant_id,
        table.c.id,
        table.c.project_id,
        type_coerce(table.c.priority, Integer).label("rank"),
        type_coerce(table.c.requested_at, String).label("age"),
    )


def _is_woken() -> tuple[ColumnElement[bool], ...]:
    return waits_for_a_time(runs), runs.c.wake_at <= _NOW, ~_is_set_aside(runs)


def _is_set_aside(table: FromClause) -> ColumnElement[bool]:
    return exists().where(
        set_asides.c.tenant_id == table.c.tenant_id,
        set_asides.c.run_id == table.c.id,
        set_asides.c.until > _NOW,
    )


class SqlDispatch:
    """``ports.DispatchTransaction``."""

    def __init__(self, connection: Connection, place: str, *, read_only: bool = False) -> None:
        self._connection = connection
        self._place = place
        self._read_only = read_only
        self._slots = SqlServed(connection, place, RUN_SLOTS)
        self._given_out: list[SqlTransaction] = []

    def take_turn(self) -> None:
        """Wait until no other dispatcher is at it."""
        take_turn(self._connection, self._place, "dispatch")

    def holders(self) -> tuple[SlotHolder, ...]:
        columns = (runs.c.tenant_id, runs.c.project_id, runs.c.id)
        query = select(*columns).where(runs.c.admitted_at.is_not(None))
        return tuple(SlotHolder(*row) for row in self._all(query))

    def waiting_runs(self, now: datetime, limit: int = 10) -> tuple[RunKey, ...]:
        return tuple(RunKey(*row) for row in self._all(waiting_runs(now, limit)))

    def heads(self, now: datetime) -> tuple[WaitingRun, ...]:
        first: dict[str, WaitingRun] = {}
        lateral = self._connection.dialect.name == "postgresql"
        for query in (queue_heads(lateral=lateral), woken_heads()):
            for head in self._waiting(query, now=now):
                known = first.setdefault(head.tenant_id, head)
                first[head.tenant_id] = min(known, head, key=lambda run: run.place)
        return tuple(first.values())

    def queue_of(
        self,
        tenant_id: str,
        now: datetime,
        *,
        limit: int,
        without_projects: Collection[str] = (),
    ) -> tuple[WaitingRun, ...]:
        wanted: dict[str, Any] = {"now": now, "tenant_id": tenant_id, "most": limit}
        if without_projects:
            wanted["projects"] = sorted(without_projects)
        found = [
            run
            for query in (queued_of, woken_of)
            for run in self._waiting(query(without_projects=bool(without_projects)), **wanted)
        ]
        return tuple(sorted(found, key=lambda run: run.place)[:limit])

    def served(self) -> Mapping[str, float]:
        return self._slots.served()

    def serve(self, tenant_id: str, served: float) -> None:
        if self._read_only:
            raise PermanentError("this transaction was begun to read only")
        self._slots.serve(tenant_id, served)

    def topic(self, topic: str) -> SqlTopicQueue:
        return SqlTopicQueue(self._connection, self._place, topic)

    def of_tenant(self, tenant_id: str) -> SqlTransaction:
        rows = TenantRows(self._connection, tenant_id, self._place, read_only=self._read_only)
        transaction = SqlTransaction(rows)
        self._given_out.append(transaction)
        return transaction

    def finish(self) -> None:
        """Write what the tenants' transactions have held back."""
        for transaction in self._given_out:
            transaction.finish()

    def _waiting(self, query: Select[Any], **wanted: Any) -> list[WaitingRun]:
        return [WaitingRun(*row) for row in self._all(query, **wanted)]

    def _all(self, query: Select[Any], **wanted: Any) -> list[Any]:
        with translated(self._place):
            return list(self._connection.execute(query, wanted))
