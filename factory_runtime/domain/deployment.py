"""A Deployment: a template that Prefect offers to a tenant; our own record of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from factory_runtime.domain.run import Priority


@dataclass(frozen=True, slots=True)
class Deployment:
    """One for each template and tenant. Whose a run is that begins in Prefect is read here.

    Attributes:
        prefect_id: Prefect's id of it, a UUID. No two records have the same one.
        version: of the template, when it was deployed.
        schema_digest: SHA-256 of the schema that its form was made from, 64 hex digits.
        priority: of the runs that begin in it, and the work queue they are put into.
        withdrawn_at: since when a deploy of all has not found the template any more.
    """

    tenant_id: str
    template_id: str
    prefect_id: str
    version: str
    project_id: str
    schema_digest: str
    priority: Priority
    deployed_at: datetime
    deployed_by: str
    withdrawn_at: datetime | None = None
