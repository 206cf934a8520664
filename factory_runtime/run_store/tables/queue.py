"""Who waits for what: turns, topics and hosts."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
)

from factory_runtime.run_store.column_types import LongText, PriorityRank, UtcTime
from factory_runtime.run_store.tables.schema import ID, NAME, STEP, TENANT, metadata

breakers = Table(
    "breakers",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("host", NAME, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("open_until", UtcTime),
    PrimaryKeyConstraint("tenant_id", "host"),
)

queues = Table(
    "queues",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("topic", NAME, nullable=False),
    Column("served", Float(53), nullable=False),
    PrimaryKeyConstraint("tenant_id", "topic"),
    Index("ix_queues_topic", "topic"),
)

set_asides = Table(
    "set_asides",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("times", Integer, nullable=False),
    Column("until", UtcTime, nullable=False),
    Column("reason", LongText, nullable=False),
    PrimaryKeyConstraint("tenant_id", "run_id"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
)

topic_waits = Table(
    "topic_waits",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("step", STEP, nullable=False),
    Column("topic", NAME, nullable=False),
    Column("priority", PriorityRank, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("back_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "run_id", "step"),
    Index("ix_topic_waits_topic", "topic", "priority", "since"),
)
