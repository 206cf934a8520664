"""What people decide on: dead letters, orders, approvals and policies."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from factory_runtime.domain.approval import ApprovalStatus
from factory_runtime.domain.dead_letter import LetterStatus, OrderStatus
from factory_runtime.run_store.column_types import BodyText, EnumText, LongText, NamesText, UtcTime
from factory_runtime.run_store.tables.schema import (
    DIGEST,
    ID,
    NAME,
    OUTSIDE_ID,
    STEP,
    TENANT,
    VERSION,
    for_all_tenants,
    found_by,
    metadata,
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("template_id", NAME, nullable=False),
    Column("template_version", VERSION, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("fingerprint", DIGEST, nullable=False),
    Column("error_code", NAME, nullable=False),
    Column("error", LongText, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("trace_id", OUTSIDE_ID, nullable=False),
    Column("first_failed_at", UtcTime, nullable=False),
    Column("failed_at", UtcTime, nullable=False),
    Column("status", EnumText(LetterStatus), nullable=False),
    Column("version", Integer, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("redrives", Integer, nullable=False),
    Column("with_", BodyText),
    Column("traceback", BodyText),
    Column("checkpoint", Integer),
    Column("order_id", ID),
    Column("closed_at", UtcTime),
    Column("closed_by", NAME),
    Column("reason", LongText),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "run_id", "step"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_dead_letters_status", "tenant_id", "status", "failed_at", "id"),
    Index("ix_dead_letters_fingerprint", "tenant_id", "fingerprint", "status", "failed_at", "id"),
    Index("ix_dead_letters_project_id", "tenant_id", "project_id"),
    Index("ix_dead_letters_trace_id", "tenant_id", "trace_id"),
)

found_by(dead_letters, "order_id")

# For the overview over all tenants: counting the letters themselves takes too long.
letter_counts = Table(
    "letter_counts",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("fingerprint", DIGEST, nullable=False),
    Column("letters", Integer, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("first_failed_at", UtcTime, nullable=False),
    Column("last_failed_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "fingerprint"),
)

# It holds all that the overview reads: looking each of its rows up takes three times as long.
for_all_tenants(
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
    Column("tenant_id", TENANT, nullable=False),
    Column("fingerprint", DIGEST, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("error_code", NAME, nullable=False),
    Column("message", LongText, nullable=False),
    Column("first_seen", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "fingerprint"),
)

redrive_orders = Table(
    "redrive_orders",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("status", EnumText(OrderStatus), nullable=False),
    Column("requested_by", NAME, nullable=False),
    Column("requested_at", UtcTime, nullable=False),
    Column("total", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("fingerprint", DIGEST),
    Column("job_type", NAME),
    Column("template_id", NAME),
    Column("project_id", NAME),
    Column("since", UtcTime),
    Column("until", UtcTime),
    Column("canary_id", ID),
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
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("plan_digest", DIGEST, nullable=False),
    Column("requested_by", NAME, nullable=False),
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
    Column("tenant_id", TENANT, nullable=False),
    Column("approval_id", ID, nullable=False),
    Column("person", NAME, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("comment", LongText, nullable=False),
    Column("behind", NamesText, nullable=False, server_default="[]"),
    PrimaryKeyConstraint("tenant_id", "approval_id", "person"),
    ForeignKeyConstraint(["tenant_id", "approval_id"], ["approvals.tenant_id", "approvals.id"]),
)

policies = Table(
    "policies",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", LongText, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("updated_by", NAME, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
)
