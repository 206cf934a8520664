"""Addresses that are told when runs have ended."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table

from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store.column_types import LongText, TupleText, UtcTime
from factory_runtime.run_store.tables.schema import ID, NAME, TENANT, URI, metadata

callbacks = Table(
    "callbacks",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("id", ID, nullable=False),
    Column("url", URI, nullable=False),
    Column("secret", LongText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", NAME, nullable=False),
    Column("project_id", NAME),
    Column("statuses", TupleText(RunStatus), nullable=False),
    Column("run_id", ID),
    Column("disabled_at", UtcTime),
    Column("reason", LongText),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.id"]),
    Index("ix_callbacks_run_id", "tenant_id", "run_id"),
    Index("ix_callbacks_project_id", "tenant_id", "project_id"),
)
