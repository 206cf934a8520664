"""Projects and repositories by their names, as what is made beside them needs them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from factory_runtime.domain.errors import InputError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route

HEADS = "refs/heads/"


class Linked(BaseModel):
    """What has pages for people."""

    links: dict[str, Any] = Field(default_factory=dict[str, Any], alias="_links")

    def page(self, kind: str = "web") -> str:
        """Its address; empty where the host does not say."""
        return str(self.links.get(kind, {}).get("href", ""))


class ProjectPlace(BaseModel):
    """``TeamProjectReference``."""

    id: str


class RepositoryPlace(BaseModel):
    """``GitRepository``."""

    id: str
    name: str
    project: ProjectPlace
    default_ref: str | None = Field(default=None, alias="defaultBranch")
    web: str = Field(default="", alias="webUrl")


def get_project(client: AzureDevOpsClient, project: str) -> ProjectPlace:
    """Raises InputError: it is not there."""
    found = client.find(ProjectPlace, route(None, "projects", project))
    if found is None:
        raise InputError(f"{client.access.name} has no project {project}")
    return found


def get_repository(client: AzureDevOpsClient, project: str, name: str) -> RepositoryPlace:
    """Raises InputError: it is not there."""
    found = client.find(RepositoryPlace, route(project, "git", "repositories", name))
    if found is None:
        raise InputError(f"{client.access.name} has no repository {project}/{name}")
    return found


def ref_of(branch: str) -> str:
    """The whole name of a branch."""
    return branch if branch.startswith("refs/") else f"{HEADS}{branch}"
