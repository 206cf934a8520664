"""What was learned: kept for good, whatever becomes of the runs it was learned from."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    text,
)

from factory_runtime.domain.memory import (
    Collection,
    ForgetScope,
    Kind,
    ModelStatus,
    ObservationKind,
)
from factory_runtime.run_store.column_types import (
    EnumText,
    JsonText,
    LongText,
    NamesText,
    TupleText,
    UtcTime,
    VectorBytes,
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

memory_records = Table(
    "memory_records",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", KEY, nullable=False),
    Column("collection", EnumText(Collection), nullable=False),
    Column("title", LongText, nullable=False),
    Column("text", LongText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("project_id", NAME),
    Column("module_id", NAME),
    Column("run_id", ID),
    Column("step", STEP),
    Column("trace_id", OUTSIDE_ID),
    Column("correlation_id", OUTSIDE_ID),
    Column("template_id", NAME),
    Column("template_version", VERSION),
    Column("outcome", NAME),
    Column("classification", NAME, nullable=False),
    # These three are the release's before: its vectors are in memory_vectors now.
    Column("embedding_model", NAME),
    Column("embedding_version", VERSION),
    Column("superseded_by", KEY),
    Column("vector", VectorBytes),
    Column("facts", JsonText, nullable=False),
    # Empty in rows that the release before has written: whoever indexes them fills it in.
    Column("kind", EnumText(Kind)),
    Column("artifact_id", ID),
    Column("commit", NAME),
    Column("path", URI),
    Column("first_line", Integer),
    Column("last_line", Integer),
    Column("text_digest", DIGEST),
    Column("prose", LongText),
    Column("changed_at", UtcTime),
    Column("revision", Integer, nullable=False, server_default="1"),
    Column("indexed_at", UtcTime),
    # No foreign key to the run: what was learned outlives it.
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_memory_records_collection", "tenant_id", "collection", "id"),
    Index("ix_memory_records_kind", "tenant_id", "kind", "id"),
    Index("ix_memory_records_text_digest", "tenant_id", "text_digest"),
)

found_by(memory_records, "run_id", "project_id", then="id")
found_by(memory_records, "module_id", "trace_id", "correlation_id", "template_id")

without_prose = memory_records.c.prose.is_(None)
Index(
    "ix_memory_records_without_prose",
    memory_records.c.tenant_id,
    memory_records.c.kind,
    memory_records.c.changed_at,
    memory_records.c.id,
    sqlite_where=without_prose,
    postgresql_where=without_prose,
)

for_all_tenants(
    "ix_memory_records_unindexed",
    memory_records.c.tenant_id,
    memory_records.c.changed_at,
    memory_records.c.id,
    where=memory_records.c.indexed_at.is_(None),
)

memory_vectors = Table(
    "memory_vectors",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("model", NAME, nullable=False),
    Column("text_digest", DIGEST, nullable=False),
    Column("vector", VectorBytes, nullable=False),
    PrimaryKeyConstraint("tenant_id", "text_digest", "model"),
)

memory_observations = Table(
    "memory_observations",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("subject", KEY, nullable=False),
    Column("kind", EnumText(ObservationKind), nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("place", KEY, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("project_id", NAME),
    Column("worked", Boolean),
    Column("facts", JsonText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject", "kind", "run_id", "step", "cycle", "place"),
    Index("ix_memory_observations_at", "tenant_id", "subject", "at"),
    Index("ix_memory_observations_run_id", "tenant_id", "run_id", "subject"),
)

found_by(memory_observations, "project_id", then="subject")

memory_uses = Table(
    "memory_uses",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("memory_id", KEY, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("score", Float(53), nullable=False),
    Column("shown_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "run_id", "step", "memory_id"),
    Index("ix_memory_uses_memory_id", "tenant_id", "memory_id"),
    Index("ix_memory_uses_project_id", "tenant_id", "project_id"),
)

memory_forgotten = Table(
    "memory_forgotten",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("scope", EnumText(ForgetScope), nullable=False),
    Column("key", NAME, nullable=False),
    Column("at", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "scope", "key"),
)

memory_models = Table(
    "memory_models",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("model", NAME, nullable=False),
    Column("embedder", NAME, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("status", EnumText(ModelStatus), nullable=False),
    Column("begun_at", UtcTime, nullable=False),
    Column("switched_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "model"),
)

# Two that switch at once leave one active model.
Index(
    "ux_memory_models_active",
    memory_models.c["tenant_id"],
    unique=True,
    sqlite_where=text("status = 'active'"),
    postgresql_where=text("status = 'active'"),
)

memory_packages = Table(
    "memory_packages",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("task_digest", DIGEST, nullable=False),
    Column("memory_ids", NamesText, nullable=False),
    Column("scores", TupleText(float), nullable=False),
    Column("budget", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("newest_at", UtcTime),
    Column("lag_seconds", Float(53), nullable=False),
    Column("projects", NamesText),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_memory_packages_task_digest", "tenant_id", "task_digest", "expires_at"),
)

memory_tallies = Table(
    "memory_tallies",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("about", DIGEST, nullable=False),
    Column("times", Integer, nullable=False),
    Column("until", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "about"),
)

# For monitoring, over all tenants.
Index("ix_memory_tallies_about", memory_tallies.c["about"], memory_tallies.c["until"])

# For whoever drops what has expired, over all tenants.
Index("ix_memory_packages_expires_at", memory_packages.c["expires_at"])
