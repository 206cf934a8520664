"""Repositories of a project of Azure DevOps.

Routes: https://learn.microsoft.com/rest/api/azure/devops/git/repositories, …/git/refs and
…/git/annotated-tags, all of ``?view=azure-devops-rest-7.1``.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route

_HEADS = "refs/heads/"


class Project(BaseModel):
    """``TeamProjectReference``."""

    id: str
    name: str


class HostedRepository(BaseModel):
    """``GitRepository``. Its id becomes part of a path of ours."""

    id: str = Field(pattern=r"^[0-9A-Za-z-]{1,64}$")
    name: str
    project: Project
    default_ref: str | None = Field(default=None, alias="defaultBranch")
    disabled: bool = Field(default=False, alias="isDisabled")

    @property
    def default_branch(self) -> str | None:
        """None before the first commit."""
        return self.default_ref.removeprefix(_HEADS) if self.default_ref else None


class _Ref(BaseModel):
    name: str
    object_id: str = Field(alias="objectId")


class _Tag(BaseModel):
    message: str = ""


class _Nothing(BaseModel):
    pass


class Repositories:
    """Those of one project, as it is called on the host. Raises as ``AzureDevOpsClient``."""

    def __init__(self, client: AzureDevOpsClient, project: str) -> None:
        self._client = client
        self._project = project

    def find(self, name: str) -> HostedRepository | None:
        return self._client.find(HostedRepository, self._route(name))

    def list(self) -> tuple[HostedRepository, ...]:
        return tuple(self._client.list(HostedRepository, self._route()))

    def create(self, name: str) -> HostedRepository:
        """Raises TakenError: there is one of that name."""
        return self._client.post(HostedRepository, self._route(), {"name": name})

    def rename(self, repository_id: str, name: str) -> None:
        """Raises TakenError: there is another of that name."""
        self._client.patch(_Nothing, self._route(repository_id), {"name": name})

    def delete(self, repository_id: str) -> bool:
        """Put it into the recycle bin, where it can be had back for a month; False: it is gone."""
        return self._client.delete(self._route(repository_id))

    def refs(self, repository_id: str) -> dict[str, str]:
        """All branches and tags, by their whole names, and where they are at."""
        return {**self.tags(repository_id), **self._refs(repository_id, "heads/")}

    def tags(self, repository_id: str, name: str = "") -> dict[str, str]:
        """As ``refs``, of tags alone whose names begin so."""
        return self._refs(repository_id, f"tags/{name}")

    def _refs(self, repository_id: str, begin: str) -> dict[str, str]:
        # Never of all: each pull request that there ever was has refs too.
        found = self._client.list(_Ref, self._route(repository_id, "refs"), {"filter": begin})
        return {ref.name: ref.object_id for ref in found}

    def tag_message(self, repository_id: str, tag_id: str) -> str | None:
        """What an annotated tag says; None where it is none."""
        place = self._route(repository_id, "annotatedtags", tag_id)
        tag = self._client.find_lasting(_Tag, place)
        return None if tag is None else tag.message

    def _route(self, *names: str) -> str:
        return route(self._project, "git", "repositories", *names)
