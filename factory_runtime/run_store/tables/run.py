"""Runs, and the indexes that their queues are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    and_,
    literal_column,
)

from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.run_words import LONGEST
from factory_runtime.run_store.column_types import (
    BodyText,
    CleanText,
    EnumText,
    JsonText,
    LongText,
    PriorityRank,
    UtcTime,
)
from factory_runtime.run_store.tables.schema import (
    DIGEST,
    ID,
    NAME,
    OUTSIDE_ID,
    TENANT,
    VERSION,
    for_all_tenants,
    found_by,
    metadata,
)

runs = Table(
    "runs",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("module_id", NAME),
    Column("template_id", NAME, nullable=False),
    Column("template_version", VERSION, nullable=False),
    Column("template_digest", DIGEST, nullable=False),
    Column("status", EnumText(RunStatus), nullable=False),
    Column("version", Integer, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("priority", PriorityRank, nullable=False),
    Column("inputs", BodyText, nullable=False),
    Column("plan", BodyText),
    Column("outputs", BodyText),
    Column("requested_by", NAME, nullable=False),
    Column("requested_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("completed_at", UtcTime),
    Column("deadline_at", UtcTime),
    Column("admitted_at", UtcTime),
    Column("wake_at", UtcTime),
    Column("cancel_requested_at", UtcTime),
    Column("pause_requested_at", UtcTime),
    Column("flow_run_id", ID),
    Column("trace_id", OUTSIDE_ID, nullable=False),
    Column("correlation_id", OUTSIDE_ID, nullable=False),
    Column("build_id", OUTSIDE_ID),
    Column("repo_id", OUTSIDE_ID),
    Column("pipeline_id", OUTSIDE_ID),
    Column("work_item_id", OUTSIDE_ID),
    Column("error", LongText),
    Column("metadata", JsonText, nullable=False),
    Column("undoes", ID),
    Column("undo_requested_by", NAME),
    Column("inputs_digest", DIGEST),
    Column("people_asked_at", UtcTime),
    Column("delivery_id", OUTSIDE_ID),
    Column("git_host", NAME),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_runs_age", "tenant_id", "requested_at", "id"),
    Index("ix_runs_project", "tenant_id", "project_id", "requested_at", "id"),
    Index("ix_runs_project_status", "tenant_id", "project_id", "status", "requested_at", "id"),
    Index("ix_runs_template", "tenant_id", "template_id", "requested_at", "id"),
    Index("ix_runs_status", "tenant_id", "status", "requested_at", "id"),
    Index("ix_runs_requested_by", "tenant_id", "requested_by", "requested_at", "id"),
    Index("ix_runs_trace_id", "tenant_id", "trace_id"),
    Index("ix_runs_correlation_id", "tenant_id", "correlation_id"),
)


def stands_in_queue(table: FromClause) -> ColumnElement[bool]:
    """Of ``runs`` or an alias: the run wants a slot now."""
    begun = (RunStatus.VALIDATED, RunStatus.QUEUED, RunStatus.RUNNING)
    return _may_have_a_slot(table) & table.c.status.in_([_spelled(status) for status in begun])


def waits_for_a_time(table: FromClause) -> ColumnElement[bool]:
    """Of ``runs`` or an alias: the run wants a slot once its ``wake_at`` has come."""
    is_waiting = table.c.status == _spelled(RunStatus.WAITING)
    return _may_have_a_slot(table) & is_waiting & table.c.wake_at.is_not(None)


def _spelled(status: RunStatus) -> ColumnElement[Any]:
    """Not bound: a database uses a partial index where it can see that it may."""
    return literal_column(f"'{status.value}'")


def _may_have_a_slot(table: FromClause) -> ColumnElement[bool]:
    columns = table.c
    return and_(
        columns.completed_at.is_(None),
        columns.admitted_at.is_(None),
        columns.pause_requested_at.is_(None),
        columns.cancel_requested_at.is_(None),
    )


# A run is open until it has completed: however many have, these stay small.
_OPEN = runs.c.completed_at.is_(None)

for_all_tenants("ix_runs_open", runs.c.priority, runs.c.requested_at, runs.c.id, where=_OPEN)

for_all_tenants("ix_runs_open_keys", runs.c.tenant_id, runs.c.id, where=_OPEN)

# What has ended lately, for the numbers of monitoring.
for_all_tenants("ix_runs_ended", runs.c.completed_at, where=runs.c.completed_at.is_not(None))

for_all_tenants("ix_runs_deadline", runs.c.deadline_at, where=_OPEN)

for_all_tenants(
    "ix_runs_cancelling",
    runs.c.cancel_requested_at,
    where=_OPEN & runs.c.cancel_requested_at.is_not(None),
)

for_all_tenants(
    "ix_runs_admitted",
    runs.c.priority,
    runs.c.requested_at,
    runs.c.id,
    where=runs.c.admitted_at.is_not(None),
)

# Runs in the queue for a slot: a tenant's first one is one look away, however many stand behind it.
for_all_tenants(
    "ix_runs_queue",
    runs.c.tenant_id,
    runs.c.priority,
    runs.c.requested_at,
    runs.c.id,
    runs.c.project_id,
    where=stands_in_queue(runs),
)

for_all_tenants(
    "ix_runs_wake",
    runs.c.wake_at,
    runs.c.tenant_id,
    runs.c.priority,
    runs.c.requested_at,
    runs.c.id,
    runs.c.project_id,
    where=waits_for_a_time(runs),
)

found_by(runs, "module_id", "build_id", "repo_id", "pipeline_id", "work_item_id", "delivery_id")

# Unique: a flow run that Prefect starts twice at once is adopted by one run.
Index(
    "ux_runs_flow_run_id",
    runs.c.tenant_id,
    runs.c.flow_run_id,
    unique=True,
    sqlite_where=runs.c.flow_run_id.is_not(None),
    postgresql_where=runs.c.flow_run_id.is_not(None),
)

# Unique: however often it is asked for, the effects of a run are undone by one other run.
Index(
    "ux_runs_undoes",
    runs.c.tenant_id,
    runs.c.undoes,
    unique=True,
    sqlite_where=runs.c.undoes.is_not(None),
    postgresql_where=runs.c.undoes.is_not(None),
)

found_by(runs, "inputs_digest")

# What runs are found by. In the order of a list: who looks for a word reads as many as they want.
# No foreign key: words are the run's own, and are made again of it.
run_words = Table(
    "run_words",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("word", CleanText(LONGEST), nullable=False),
    Column("requested_at", UtcTime, nullable=False),
    Column("run_id", ID, nullable=False),
    PrimaryKeyConstraint("tenant_id", "word", "requested_at", "run_id"),
)
