"""The run store's transaction: deployments."""

from __future__ import annotations

from factory_runtime.domain.deployment import Deployment
from factory_runtime.domain.errors import StaleVersionError
from factory_runtime.run_store.records import DEPLOYMENTS
from factory_runtime.run_store.rows import TenantRows
from factory_runtime.run_store.tables import deployments


class Deployments:
    """``ports.DeploymentRecords``."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows

    def find_deployment(self, template_id: str) -> Deployment | None:
        return self._rows.find(DEPLOYMENTS, template_id=template_id)

    def save_deployment(self, deployment: Deployment) -> None:
        self._rows.put(DEPLOYMENTS, deployment, key=("tenant_id", "template_id"))
        # Another row with the same id of Prefect's refuses it, on SQLite without a word.
        if self.find_deployment(deployment.template_id) != deployment:
            raise StaleVersionError(
                f"the deployment {deployment.prefect_id} is recorded for something else",
                hint="delete it in Prefect, and deploy the template again",
            )

    def list_deployments(self) -> tuple[Deployment, ...]:
        return self._rows.list(DEPLOYMENTS, order_by=(deployments.c.template_id,))
