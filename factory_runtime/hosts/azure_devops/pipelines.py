"""Pipelines from YAML in a repository. Those of ours lie in a folder whose name is their mark.

A pipeline has neither tags nor a description as it is made, and its name is for people; its folder
it has from the first. They are made by
https://learn.microsoft.com/rest/api/azure/devops/pipelines/pipelines/create, and what
``configuration`` holds is told by https://github.com/MicrosoftDocs/vsts-rest-api-specs/issues/655.
Found they are by https://learn.microsoft.com/rest/api/azure/devops/build/definitions/list, which
looks for a folder or a file (both ``?view=azure-devops-rest-7.1``); the ids are the same.
"""

from __future__ import annotations

from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.errors import TakenError
from factory_runtime.hosts.azure_devops.lookup import Linked, get_repository
from factory_runtime.hosts.azure_devops.marks import mark_of, tenant_mark
from factory_runtime.hosts.azure_devops.repositories import HostedRepository
from factory_runtime.ports import Pipeline, PipelineOrder

_FOLDER = "\\factory\\"


class _Pipeline(Linked):
    """``Pipeline``, and ``BuildDefinitionReference``, which alone has a path."""

    id: int
    name: str
    path: str = ""

    def told(self, *, created: bool = False) -> Pipeline:
        return Pipeline(str(self.id), self.name, self.page(), created=created)


class Pipelines:
    """Those of an organisation. Raises as ``AzureDevOpsClient``."""

    def __init__(self, client: AzureDevOpsClient) -> None:
        self._client = client

    def ensure(self, tenant_id: str, order: PipelineOrder) -> Pipeline:
        project = self._client.access.project_of(tenant_id, order.project_id)
        mark = mark_of(tenant_id, order.effect_key)
        found = self._find(project, order.name, mark)
        if found is None:
            repository = get_repository(self._client, project, order.repository)
            found = self._of_earlier_run(project, tenant_id, order, repository)
            if found is None:
                return self._create(project, order, mark, repository)
        return found.told()

    def find(self, tenant_id: str, project_id: str, name: str, effect_key: str) -> Pipeline | None:
        project = self._client.access.project_of(tenant_id, project_id)
        found = self._find(project, name, mark_of(tenant_id, effect_key))
        return None if found is None else found.told()

    def _find(self, project: str, name: str, mark: str) -> _Pipeline | None:
        folder = f"{_FOLDER}{mark}"
        return self._first(project, name, folder, {"path": folder})

    def _of_earlier_run(
        self, project: str, tenant_id: str, order: PipelineOrder, repository: HostedRepository
    ) -> _Pipeline | None:
        """One of this tenant's for the same file: another beside it would build each push twice."""
        query = {
            "repositoryId": repository.id,
            "repositoryType": "TfsGit",
            "yamlFilename": _path_of(order),
        }
        return self._first(project, order.name, f"{_FOLDER}{tenant_mark(tenant_id)}", query)

    def _first(
        self, project: str, name: str, folder: str, query: dict[str, str]
    ) -> _Pipeline | None:
        """Of those in folders that begin like this; the host's own search is none too exact."""
        listed = self._client.list(_Pipeline, route(project, "build", "definitions"), query)
        ours = (one for one in listed if one.name == name and one.path.startswith(folder))
        return min(ours, key=lambda one: one.id, default=None)

    def _create(
        self, project: str, order: PipelineOrder, mark: str, repository: HostedRepository
    ) -> Pipeline:
        body = {
            "name": order.name,
            "folder": f"{_FOLDER}{mark}",
            "configuration": {
                "type": "yaml",
                "path": _path_of(order),
                "repository": {
                    "id": repository.id,
                    "name": repository.name,
                    "type": "azureReposGit",
                },
            },
        }
        try:
            made = self._client.post(_Pipeline, route(project, "pipelines"), body)
        except TakenError:
            # Another process was faster: a folder has one of a name.
            found = self._find(project, order.name, mark)
            if found is None:
                raise
            return found.told()
        return made.told(created=True)


def _path_of(order: PipelineOrder) -> str:
    return f"/{order.file.lstrip('/')}"
