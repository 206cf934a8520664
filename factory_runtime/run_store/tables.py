"""The tables. Their columns are named after the fields of the values they hold.

Every row carries ``tenant_id``, and every index that serves a tenant's query starts with it. The
few queries that look over all tenants (dispatcher, outbox, sweep) have indexes of their own.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKeyConstraint,
    FromClause,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    and_,
    literal_column,
)

from factory_runtime.domain.approval import ApprovalStatus
from factory_runtime.domain.artifact import ArtifactKind, Classification
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.dead_letter import LetterStatus, OrderStatus
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.memory import Collection
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store.column_types import (
    BodyText,
    CleanText,
    EnumText,
    JsonText,
    LongText,
    NamesText,
    PriorityRank,
    UtcTime,
    VectorBytes,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)

_TENANT = CleanText(64)
_ID = CleanText(64)
_STEP = CleanText(200)
_KEY = CleanText(300)
_NAME = CleanText(200)
_DIGEST = CleanText(64)
_URI = CleanText(2000)
_VERSION = CleanText(64)
_OUTSIDE_ID = CleanText(200)


def _found_by(table: Table, *columns: str) -> None:
    """An index for each column that is often empty, over the rows where it is not."""
    for name in columns:
        column = table.c[name]
        given = column.is_not(None)
        Index(
            f"ix_{table.name}_{name}",
            table.c.tenant_id,
            column,
            sqlite_where=given,
            postgresql_where=given,
        )


runs = Table(
    "runs",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("id", _ID, nullable=False),
    Column("project_id", _NAME, nullable=False),
    Column("module_id", _NAME),
    Column("template_id", _NAME, nullable=False),
    Column("template_version", _VERSION, nullable=False),
    Column("template_digest", _DIGEST, nullable=False),
    Column("status", EnumText(RunStatus), nullable=False),
    Column("version", Integer, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("priority", PriorityRank, nullable=False),
    Column("inputs", BodyText, nullable=False),
    Column("plan", BodyText),
    Column("outputs", BodyText),
    Column("requested_by", _NAME, nullable=False),
    Column("requested_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("completed_at", UtcTime),
    Column("deadline_at", UtcTime),
    Column("admitted_at", UtcTime),
    Column("wake_at", UtcTime),
    Column("cancel_requested_at", UtcTime),
    Column("pause_requested_at", UtcTime),
    Column("flow_run_id", _ID),
    Column("trace_id", _OUTSIDE_ID, nullable=False),
    Column("correlation_id", _OUTSIDE_ID, nullable=False),
    Column("build_id", _OUTSIDE_ID),
    Column("repo_id", _OUTSIDE_ID),
    Column("pipeline_id", _OUTSIDE_ID),
    Column("work_item_id", _OUTSIDE_ID),
    Column("error", LongText),
    Column("metadata", JsonText, nullable=False),
    Column("undoes", _ID),
    Column("undo_requested_by", _NAME),
    Column("inputs_digest", _DIGEST),
    Column("people_asked_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_runs_age", "tenant_id", "requested_at", "id"),
    Index("ix_runs_project", "tenant_id", "project_id", "requested_at", "id"),
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


def _for_all_tenants(name: str, *columns: Column[Any], where: ColumnElement[bool]) -> None:
    """An index of the dispatcher or the sweep, over the few rows they look for."""
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


# A run is open until it has completed: however many have, these stay small.
_OPEN = runs.c.completed_at.is_(None)
_for_all_tenants("ix_runs_open", runs.c.priority, runs.c.requested_at, runs.c.id, where=_OPEN)
_for_all_tenants("ix_runs_open_keys", runs.c.tenant_id, runs.c.id, where=_OPEN)
_for_all_tenants("ix_runs_deadline", runs.c.deadline_at, where=_OPEN)
_for_all_tenants(
    "ix_runs_cancelling",
    runs.c.cancel_requested_at,
    where=_OPEN & runs.c.cancel_requested_at.is_not(None),
)
_for_all_tenants(
    "ix_runs_admitted",
    runs.c.priority,
    runs.c.requested_at,
    runs.c.id,
    where=runs.c.admitted_at.is_not(None),
)
# Runs in the queue for a slot: a tenant's first one is one look away, however many stand behind it.
_for_all_tenants(
    "ix_runs_queue",
    runs.c.tenant_id,
    runs.c.priority,
    runs.c.requested_at,
    runs.c.id,
    runs.c.project_id,
    where=stands_in_queue(runs),
)
_for_all_tenants(
    "ix_runs_wake",
    runs.c.wake_at,
    runs.c.tenant_id,
    runs.c.priority,
    runs.c.requested_at,
    runs.c.id,
    runs.c.project_id,
    where=waits_for_a_time(runs),
)
_found_by(runs, "module_id", "build_id", "repo_id", "pipeline_id", "work_item_id")
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
_found_by(runs, "inputs_digest")

jobs = Table(
    "jobs",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("step", _STEP, nullable=False),
    Column("id", _ID, nullable=False),
    Column("position", Integer, nullable=False),
    Column("type", _NAME, nullable=False),
    Column("status", EnumText(JobStatus), nullable=False),
    Column("version", Integer, nullable=False),
    Column("needs", NamesText, nullable=False),
    Column("priority", PriorityRank, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("not_before", UtcTime),
    Column("lease_owner", _NAME),
    Column("lease_expires_at", UtcTime),
    Column("fencing_token", BigInteger, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("completed_at", UtcTime),
    Column("last_attempt_at", UtcTime),
    Column("progress", Float(53)),
    Column("phrase", LongText),
    Column("cached", Boolean),
    Column("skip_reason", EnumText(SkipReason)),
    Column("error", LongText),
    Column("outputs", BodyText),
    Column("span_id", _OUTSIDE_ID),
    Column("build_id", _OUTSIDE_ID),
    Column("repo_id", _OUTSIDE_ID),
    Column("pipeline_id", _OUTSIDE_ID),
    Column("work_item_id", _OUTSIDE_ID),
    Column("degraded", LongText),
    PrimaryKeyConstraint("tenant_id", "run_id", "step"),
    UniqueConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_jobs_position", "tenant_id", "run_id", "position"),
)
# For the sweep: only what is claimed has a lease.
_for_all_tenants(
    "ix_jobs_lease", jobs.c.lease_expires_at, where=jobs.c.lease_expires_at.is_not(None)
)
_found_by(jobs, "span_id", "build_id", "repo_id", "pipeline_id", "work_item_id")

attempts = Table(
    "attempts",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("key", _KEY, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("step", _STEP, nullable=False),
    Column("number", Integer, nullable=False),
    Column("fencing_token", BigInteger, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("completed_at", UtcTime),
    Column("worker", _NAME, nullable=False),
    Column("environment", _NAME, nullable=False),
    Column("outcome", EnumText(Outcome)),
    Column("cached", Boolean),
    Column("error", LongText),
    Column("error_code", _NAME),
    Column("traceback", BodyText),
    Column("cpu_seconds", Float(53)),
    Column("peak_memory_bytes", BigInteger),
    Column("task_run_id", _ID),
    Column("span_id", _OUTSIDE_ID),
    PrimaryKeyConstraint("tenant_id", "key"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id", "step"], ["jobs.tenant_id", "jobs.run_id", "jobs.step"]
    ),
    Index("ix_attempts_job", "tenant_id", "run_id", "step", "number"),
)
_found_by(attempts, "span_id", "task_run_id")

artifacts = Table(
    "artifacts",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("id", _ID, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("step", _STEP, nullable=False),
    Column("kind", EnumText(ArtifactKind), nullable=False),
    Column("name", _NAME, nullable=False),
    Column("project_id", _NAME, nullable=False),
    Column("uri", _URI, nullable=False),
    Column("media_type", _NAME, nullable=False),
    Column("size", BigInteger),
    Column("sha256", _DIGEST),
    Column("classification", EnumText(Classification), nullable=False),
    Column("creator", _KEY, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("accessed_at", UtcTime),
    Column("expires_at", UtcTime),
    Column("metadata", JsonText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "run_id", "step", "kind", "name"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_artifacts_age", "tenant_id", "created_at", "id"),
    Index("ix_artifacts_project", "tenant_id", "project_id", "created_at", "id"),
)
_found_by(artifacts, "sha256")

run_events = Table(
    "run_events",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("sequence", Integer, nullable=False, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("kind", _NAME, nullable=False),
    Column("step", _STEP),
    Column("from_status", _NAME),
    Column("to_status", _NAME),
    Column("detail", JsonText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "run_id", "sequence"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
)

effects = Table(
    "effects",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("effect_key", _KEY, nullable=False),
    Column("kind", _NAME, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("step", _STEP, nullable=False),
    Column("target", LongText, nullable=False),
    Column("status", EnumText(EffectStatus), nullable=False),
    Column("intended_at", UtcTime, nullable=False),
    Column("confirmed_at", UtcTime),
    Column("reference", LongText),
    Column("facts", JsonText, nullable=False, server_default="{}"),
    Column("link", LongText),
    Column("reason", LongText),
    Column("settled_at", UtcTime),
    Column("undone_by", _ID),
    PrimaryKeyConstraint("tenant_id", "effect_key", "kind"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_effects_run", "tenant_id", "run_id", "intended_at"),
    Index("ix_effects_status", "tenant_id", "status", "intended_at"),
    Index("ix_effects_age", "tenant_id", "intended_at", "effect_key", "kind"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("step", _STEP, nullable=False),
    Column("number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("job_type", _NAME, nullable=False),
    Column("job_type_version", _VERSION, nullable=False),
    Column("saved_at", UtcTime, nullable=False),
    Column("state", BodyText, nullable=False),
    Column("with_digest", _DIGEST),
    PrimaryKeyConstraint("tenant_id", "run_id", "step"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id", "step"], ["jobs.tenant_id", "jobs.run_id", "jobs.step"]
    ),
)

breakers = Table(
    "breakers",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("host", _NAME, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("open_until", UtcTime),
    PrimaryKeyConstraint("tenant_id", "host"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("id", _ID, nullable=False),
    Column("topic", _NAME, nullable=False),
    Column("key", _KEY, nullable=False),
    Column("payload", JsonText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("not_before", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("done_at", UtcTime),
    Column("error", LongText),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "topic", "key"),
)
# For whoever drains the outbox, over all tenants: only what is still open, oldest first.
Index(
    "ix_outbox_open",
    outbox.c.created_at,
    outbox.c.id,
    outbox.c.not_before,
    sqlite_where=outbox.c.done_at.is_(None),
    postgresql_where=outbox.c.done_at.is_(None),
)

templates = Table(
    "templates",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("template_id", _NAME, nullable=False),
    Column("version", _VERSION, nullable=False),
    Column("digest", _DIGEST, nullable=False),
    Column("title", LongText, nullable=False),
    Column("description", LongText, nullable=False),
    Column("published_at", UtcTime, nullable=False),
    Column("inputs_schema", JsonText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "template_id", "version"),
)

requests = Table(
    "requests",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("idempotency_key", _KEY, nullable=False),
    Column("body_digest", _DIGEST, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "idempotency_key"),
)

memory_records = Table(
    "memory_records",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("id", _KEY, nullable=False),
    Column("collection", EnumText(Collection), nullable=False),
    Column("title", LongText, nullable=False),
    Column("text", LongText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("project_id", _NAME),
    Column("module_id", _NAME),
    Column("run_id", _ID),
    Column("step", _STEP),
    Column("trace_id", _OUTSIDE_ID),
    Column("correlation_id", _OUTSIDE_ID),
    Column("template_id", _NAME),
    Column("template_version", _VERSION),
    Column("outcome", _NAME),
    Column("classification", _NAME, nullable=False),
    Column("embedding_model", _NAME),
    Column("embedding_version", _VERSION),
    Column("superseded_by", _KEY),
    Column("vector", VectorBytes),
    Column("facts", JsonText, nullable=False),
    # No foreign key to the run: what was learned outlives it.
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_memory_records_collection", "tenant_id", "collection", "id"),
)
_found_by(memory_records, "run_id", "project_id", "module_id", "trace_id", "correlation_id")

locks = Table(
    "locks",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("name", _KEY, nullable=False),
    Column("holder", _NAME, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("id", _ID, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("step", _STEP, nullable=False),
    Column("project_id", _NAME, nullable=False),
    Column("template_id", _NAME, nullable=False),
    Column("template_version", _VERSION, nullable=False),
    Column("job_type", _NAME, nullable=False),
    Column("fingerprint", _DIGEST, nullable=False),
    Column("error_code", _NAME, nullable=False),
    Column("error", LongText, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("trace_id", _OUTSIDE_ID, nullable=False),
    Column("first_failed_at", UtcTime, nullable=False),
    Column("failed_at", UtcTime, nullable=False),
    Column("status", EnumText(LetterStatus), nullable=False),
    Column("version", Integer, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("redrives", Integer, nullable=False),
    Column("with_", BodyText),
    Column("traceback", BodyText),
    Column("checkpoint", Integer),
    Column("order_id", _ID),
    Column("closed_at", UtcTime),
    Column("closed_by", _NAME),
    Column("reason", LongText),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "run_id", "step"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_dead_letters_status", "tenant_id", "status", "failed_at", "id"),
    Index("ix_dead_letters_fingerprint", "tenant_id", "fingerprint", "status", "failed_at", "id"),
    Index("ix_dead_letters_project_id", "tenant_id", "project_id"),
    Index("ix_dead_letters_trace_id", "tenant_id", "trace_id"),
)
_found_by(dead_letters, "order_id")

# For the overview over all tenants: counting the letters themselves takes too long.
letter_counts = Table(
    "letter_counts",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("fingerprint", _DIGEST, nullable=False),
    Column("letters", Integer, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("first_failed_at", UtcTime, nullable=False),
    Column("last_failed_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "fingerprint"),
)
# It holds all that the overview reads: looking each of its rows up takes three times as long.
_for_all_tenants(
    "ix_letter_counts_open",
    letter_counts.c.fingerprint,
    letter_counts.c.tenant_id,
    letter_counts.c.letters,
    letter_counts.c.runs,
    letter_counts.c.first_failed_at,
    letter_counts.c.last_failed_at,
    where=letter_counts.c.letters > 0,
)

failure_kinds = Table(
    "failure_kinds",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("fingerprint", _DIGEST, nullable=False),
    Column("job_type", _NAME, nullable=False),
    Column("error_code", _NAME, nullable=False),
    Column("message", LongText, nullable=False),
    Column("first_seen", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "fingerprint"),
)

redrive_orders = Table(
    "redrive_orders",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("id", _ID, nullable=False),
    Column("status", EnumText(OrderStatus), nullable=False),
    Column("requested_by", _NAME, nullable=False),
    Column("requested_at", UtcTime, nullable=False),
    Column("total", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("fingerprint", _DIGEST),
    Column("job_type", _NAME),
    Column("template_id", _NAME),
    Column("project_id", _NAME),
    Column("since", UtcTime),
    Column("until", UtcTime),
    Column("canary_id", _ID),
    Column("redriven", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("error", LongText),
    Column("change", BodyText),
    Column("finished_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_redrive_orders_age", "tenant_id", "requested_at", "id"),
    Index("ix_redrive_orders_project_id", "tenant_id", "project_id"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("id", _ID, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("step", _STEP, nullable=False),
    Column("project_id", _NAME, nullable=False),
    Column("plan_digest", _DIGEST, nullable=False),
    Column("requested_by", _NAME, nullable=False),
    Column("message", LongText, nullable=False),
    Column("by", NamesText, nullable=False),
    Column("count", Integer, nullable=False),
    Column("requested_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("status", EnumText(ApprovalStatus), nullable=False),
    Column("version", Integer, nullable=False),
    Column("escalate_at", UtcTime),
    Column("escalate_to", NamesText, nullable=False),
    Column("escalated_at", UtcTime),
    Column("decided_at", UtcTime),
    Column("cycle", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "run_id", "step", "plan_digest", "cycle"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id", "step"], ["jobs.tenant_id", "jobs.run_id", "jobs.step"]
    ),
    Index("ix_approvals_status", "tenant_id", "status", "requested_at", "id"),
    Index("ix_approvals_project_id", "tenant_id", "project_id"),
)

votes = Table(
    "votes",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("approval_id", _ID, nullable=False),
    Column("person", _NAME, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("comment", LongText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "approval_id", "person"),
    ForeignKeyConstraint(["tenant_id", "approval_id"], ["approvals.tenant_id", "approvals.id"]),
)

policies = Table(
    "policies",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", LongText, nullable=False),
    Column("digest", _DIGEST, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("updated_by", _NAME, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
)

queues = Table(
    "queues",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("topic", _NAME, nullable=False),
    Column("served", Float(53), nullable=False),
    PrimaryKeyConstraint("tenant_id", "topic"),
    Index("ix_queues_topic", "topic"),
)

set_asides = Table(
    "set_asides",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("times", Integer, nullable=False),
    Column("until", UtcTime, nullable=False),
    Column("reason", LongText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "run_id"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
)

topic_waits = Table(
    "topic_waits",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("run_id", _ID, nullable=False),
    Column("step", _STEP, nullable=False),
    Column("topic", _NAME, nullable=False),
    Column("priority", PriorityRank, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("back_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "run_id", "step"),
    Index("ix_topic_waits_topic", "topic", "priority", "since"),
)

audit = Table(
    "audit",
    metadata,
    Column("tenant_id", _TENANT, nullable=False),
    Column("id", _ID, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", _NAME, nullable=False),
    Column("action", _NAME, nullable=False),
    Column("subject", _KEY, nullable=False),
    Column("detail", JsonText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_audit_subject", "tenant_id", "subject", "at"),
)
