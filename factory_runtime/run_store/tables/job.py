"""What a run is made of: jobs, attempts, checkpoints, events, effects and artifacts."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    false,
)

from factory_runtime.domain.artifact import ArtifactKind, ArtifactType, Classification
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.records import EffectStatus
from factory_runtime.run_store.column_types import (
    BodyText,
    EnumText,
    JsonText,
    LongText,
    NamesText,
    PriorityRank,
    UtcTime,
)
from factory_runtime.run_store.tables.schema import (
    DIGEST,
    ID,
    KEY,
    NAME,
    OUTSIDE_ID,
    STEP,
    TENANT,
    URI,
    VERSION,
    for_all_tenants,
    found_by,
    metadata,
)

jobs = Table(
    "jobs",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("id", ID, nullable=False),
    Column("position", Integer, nullable=False),
    Column("type", NAME, nullable=False),
    Column("status", EnumText(JobStatus), nullable=False),
    Column("version", Integer, nullable=False),
    Column("needs", NamesText, nullable=False),
    Column("priority", PriorityRank, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("not_before", UtcTime),
    Column("lease_owner", NAME),
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
    Column("span_id", OUTSIDE_ID),
    Column("build_id", OUTSIDE_ID),
    Column("repo_id", OUTSIDE_ID),
    Column("pipeline_id", OUTSIDE_ID),
    Column("work_item_id", OUTSIDE_ID),
    Column("degraded", LongText),
    Column("routed_to", NAME),
    Column("routed_flow_run_id", ID),
    PrimaryKeyConstraint("tenant_id", "run_id", "step"),
    UniqueConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_jobs_position", "tenant_id", "run_id", "position"),
)

# For the sweep: only what is claimed has a lease.
for_all_tenants(
    "ix_jobs_lease", jobs.c.lease_expires_at, where=jobs.c.lease_expires_at.is_not(None)
)

# A flow run says which it is, and only our record whose job that is.
Index(
    "ux_jobs_routed_flow_run_id",
    jobs.c.routed_flow_run_id,
    unique=True,
    sqlite_where=jobs.c.routed_flow_run_id.is_not(None),
    postgresql_where=jobs.c.routed_flow_run_id.is_not(None),
)

found_by(jobs, "span_id", "build_id", "repo_id", "pipeline_id", "work_item_id")

attempts = Table(
    "attempts",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("key", KEY, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("number", Integer, nullable=False),
    Column("fencing_token", BigInteger, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("completed_at", UtcTime),
    Column("worker", NAME, nullable=False),
    Column("environment", NAME, nullable=False),
    Column("outcome", EnumText(Outcome)),
    Column("cached", Boolean),
    Column("error", LongText),
    Column("error_code", NAME),
    Column("traceback", BodyText),
    Column("cpu_seconds", Float(53)),
    Column("peak_memory_bytes", BigInteger),
    Column("task_run_id", ID),
    Column("span_id", OUTSIDE_ID),
    PrimaryKeyConstraint("tenant_id", "key"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id", "step"], ["jobs.tenant_id", "jobs.run_id", "jobs.step"]
    ),
    Index("ix_attempts_job", "tenant_id", "run_id", "step", "number"),
)

found_by(attempts, "span_id", "task_run_id")

artifacts = Table(
    "artifacts",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("kind", EnumText(ArtifactKind), nullable=False),
    Column("name", NAME, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("uri", URI, nullable=False),
    Column("media_type", NAME, nullable=False),
    Column("size", BigInteger),
    Column("sha256", DIGEST),
    Column("classification", EnumText(Classification), nullable=False),
    Column("creator", KEY, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("accessed_at", UtcTime),
    Column("expires_at", UtcTime),
    Column("metadata", JsonText, nullable=False),
    Column("type", EnumText(ArtifactType), nullable=False, server_default="generated-file"),
    Column("once_downloaded", Boolean, nullable=False, server_default=false()),
    Column("body_deleted_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "run_id", "step", "kind", "name"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_artifacts_age", "tenant_id", "created_at", "id"),
    Index("ix_artifacts_project", "tenant_id", "project_id", "created_at", "id"),
)

found_by(artifacts, "sha256")

# For the sweep, over one tenant and over all: only what expires at all, and is not deleted yet.
_EXPIRING = artifacts.c.expires_at.is_not(None) & artifacts.c.body_deleted_at.is_(None)
Index(
    "ix_artifacts_expiring",
    artifacts.c.tenant_id,
    artifacts.c.expires_at,
    artifacts.c.id,
    sqlite_where=_EXPIRING,
    postgresql_where=_EXPIRING,
)

run_events = Table(
    "run_events",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("sequence", Integer, nullable=False, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("kind", NAME, nullable=False),
    Column("step", STEP),
    Column("from_status", NAME),
    Column("to_status", NAME),
    Column("detail", JsonText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "run_id", "sequence"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
)

effects = Table(
    "effects",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("effect_key", KEY, nullable=False),
    Column("kind", NAME, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("target", LongText, nullable=False),
    Column("status", EnumText(EffectStatus), nullable=False),
    Column("intended_at", UtcTime, nullable=False),
    Column("confirmed_at", UtcTime),
    Column("reference", LongText),
    Column("facts", JsonText, nullable=False, server_default="{}"),
    Column("link", LongText),
    Column("reason", LongText),
    Column("settled_at", UtcTime),
    Column("undone_by", ID),
    PrimaryKeyConstraint("tenant_id", "effect_key", "kind"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_effects_run", "tenant_id", "run_id", "intended_at"),
    Index("ix_effects_status", "tenant_id", "status", "intended_at"),
    Index("ix_effects_age", "tenant_id", "intended_at", "effect_key", "kind"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("job_type", NAME, nullable=False),
    Column("job_type_version", VERSION, nullable=False),
    Column("saved_at", UtcTime, nullable=False),
    Column("state", BodyText, nullable=False),
    Column("with_digest", DIGEST),
    PrimaryKeyConstraint("tenant_id", "run_id", "step"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id", "step"], ["jobs.tenant_id", "jobs.run_id", "jobs.step"]
    ),
)
