"""Pull requests. Those of ours begin with their mark, in a comment that no page shows.

It stands first, since a list tells 400 characters of a description. Routes:
https://learn.microsoft.com/rest/api/azure/devops/git/pull-requests?view=azure-devops-rest-7.1
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from pydantic import BaseModel, Field

from factory_runtime.domain.errors import ConflictError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.errors import TakenError
from factory_runtime.hosts.azure_devops.lookup import (
    HEADS,
    get_repository,
    ref_of,
)
from factory_runtime.hosts.azure_devops.marks import mark_of
from factory_runtime.ports import PullRequest, PullRequestOrder, PullRequestStatus

_PAGE = 100
_LONGEST = 4000
"""Characters of a description."""

_STATUSES = {
    "completed": PullRequestStatus.MERGED,
    "abandoned": PullRequestStatus.ABANDONED,
}


class _Review(BaseModel):
    """``GitPullRequest``."""

    id: int = Field(alias="pullRequestId")
    status: str
    source: str = Field(alias="sourceRefName")
    target: str = Field(alias="targetRefName")
    description: str = ""

    def told(self, page: str, *, created: bool = False) -> PullRequest:
        return PullRequest(
            id=str(self.id),
            url=f"{page}/pullrequest/{self.id}",
            branch=self.source.removeprefix(HEADS),
            target=self.target.removeprefix(HEADS),
            status=_STATUSES.get(self.status, PullRequestStatus.OPEN),
            created=created,
        )


class PullRequests:
    """Those of an organisation. Raises as ``AzureDevOpsClient``."""

    def __init__(self, client: AzureDevOpsClient) -> None:
        self._client = client

    def ensure(self, tenant_id: str, order: PullRequestOrder) -> PullRequest:
        """Find or open it.

        Raises:
            ConflictError: the branch has one into the same target that is not ours.
        """
        project = self._client.access.project_of(tenant_id, order.project_id)
        repository = get_repository(self._client, project, order.repository)
        page = self._client.access.clone_url(project, repository.name)
        mark, source = _comment(tenant_id, order.effect_key), ref_of(order.branch)
        found = self._find(project, repository.id, mark, source)
        if found is not None:
            return found.told(page)
        body = {
            "sourceRefName": source,
            "targetRefName": ref_of(order.target or repository.default_branch or "main"),
            "title": order.title,
            "description": f"{mark}\n{order.description}"[:_LONGEST],
            "workItemRefs": [{"id": one} for one in order.work_items],
        }
        try:
            made = self._client.post(_Review, _all(project, repository.id), body)
        except TakenError as exc:  # TF401179
            found = self._find(project, repository.id, mark, source)
            if found is None:
                raise ConflictError(
                    f"{order.branch} of {project}/{order.repository} has a pull request already",
                    hint="merge or abandon it, then retry",
                ) from exc
            return found.told(page)
        return made.told(page, created=True)

    def find(
        self, tenant_id: str, project_id: str, name: str, effect_key: str
    ) -> PullRequest | None:
        project = self._client.access.project_of(tenant_id, project_id)
        repository = get_repository(self._client, project, name)
        found = self._find(project, repository.id, _comment(tenant_id, effect_key))
        page = self._client.access.clone_url(project, repository.name)
        return None if found is None else found.told(page)

    def abandon(self, tenant_id: str, project_id: str, name: str, pull_request_id: str) -> None:
        project = self._client.access.project_of(tenant_id, project_id)
        repository = get_repository(self._client, project, name)
        path = f"{_all(project, repository.id)}/{int(pull_request_id)}"
        if self._client.get(_Review, path).status == "active":
            self._client.patch(_Review, path, {"status": "abandoned"})

    def _find(
        self, project: str, repository_id: str, mark: str, source: str | None = None
    ) -> _Review | None:
        query = {"searchCriteria.status": "all"}
        if source is not None:
            query["searchCriteria.sourceRefName"] = source
        found = self._list(_all(project, repository_id), query)
        return next((one for one in found if one.description.startswith(mark)), None)

    def _list(self, path: str, query: dict[str, str]) -> Iterator[_Review]:
        for skip in count(0, _PAGE):
            paged = {**query, "$top": str(_PAGE), "$skip": str(skip)}
            page = list(self._client.list(_Review, path, paged))
            yield from page
            if len(page) < _PAGE:
                return


def _comment(tenant_id: str, effect_key: str) -> str:
    return f"<!-- {mark_of(tenant_id, effect_key)} -->"


def _all(project: str, repository_id: str) -> str:
    return route(project, "git", "repositories", repository_id, "pullrequests")
