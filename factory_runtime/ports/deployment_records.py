"""What is deployed to Prefect for a tenant."""

from __future__ import annotations

from typing import Protocol

from factory_runtime.domain.deployment import Deployment


class DeploymentRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    def find_deployment(self, template_id: str) -> Deployment | None: ...

    def save_deployment(self, deployment: Deployment) -> None:
        """Insert, or replace the one of the same template.

        Raises:
            StaleVersionError: Prefect's id stands for another template, or another tenant's.
        """
        ...

    def list_deployments(self) -> tuple[Deployment, ...]:
        """In the order of their templates."""
        ...
