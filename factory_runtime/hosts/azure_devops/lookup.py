"""What there is already, by its name; and its pages for people."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from factory_runtime.domain.errors import InputError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.repositories import HostedRepository, Project, Repositories

HEADS = "refs/heads/"


class Linked(BaseModel):
    """What has pages for people."""

    links: dict[str, Any] = Field(default_factory=dict[str, Any], alias="_links")

    def page(self, kind: str = "web") -> str:
        """Its address; empty where the host does not say."""
        return str(self.links.get(kind, {}).get("href", ""))


def get_project(client: AzureDevOpsClient, project: str) -> Project:
    """Raises InputError: it is not there."""
    found = client.find(Project, route(None, "projects", project))
    if found is None:
        raise InputError(f"{client.access.name} has no project {project}")
    return found


def get_repository(client: AzureDevOpsClient, project: str, name: str) -> HostedRepository:
    """Raises InputError: it is not there."""
    found = Repositories(client, project).find(name)
    if found is None:
        raise InputError(f"{client.access.name} has no repository {project}/{name}")
    return found


def ref_of(branch: str) -> str:
    """The whole name of a branch."""
    return branch if branch.startswith("refs/") else f"{HEADS}{branch}"
