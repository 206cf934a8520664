"""What is deployed to Prefect, and whose it is."""

from __future__ import annotations

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table

from factory_runtime.run_store.column_types import PriorityRank, UtcTime
from factory_runtime.run_store.tables.schema import (
    DIGEST,
    ID,
    NAME,
    TENANT,
    VERSION,
    metadata,
)

deployments = Table(
    "deployments",
    metadata,
    Column("tenant_id", TENANT, nullable=False),
    Column("template_id", NAME, nullable=False),
    Column("prefect_id", ID, nullable=False),
    Column("version", VERSION, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("schema_digest", DIGEST, nullable=False),
    Column("priority", PriorityRank, nullable=False),
    Column("deployed_at", UtcTime, nullable=False),
    Column("deployed_by", NAME, nullable=False),
    Column("withdrawn_at", UtcTime),
    PrimaryKeyConstraint("tenant_id", "template_id"),
    Index("ix_deployments_project_id", "tenant_id", "project_id"),
)

# Over all tenants: a flow run says which deployment it is of, and only our record whose that is. So
# one of Prefect's cannot be two tenants'.
Index("ux_deployments_prefect_id", deployments.c.prefect_id, unique=True)
