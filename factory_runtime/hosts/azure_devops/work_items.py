"""Work items. Those of ours have their mark as a tag, given as they are made.

Routes: https://learn.microsoft.com/rest/api/azure/devops/wit/work-items and …/wit/wiql
(``?view=azure-devops-rest-7.1``). Kinds of links and their names:
https://learn.microsoft.com/azure/devops/boards/queries/link-type-reference; addresses of artifacts:
https://learn.microsoft.com/rest/api/azure/devops/wit/work-items/update#add-a-link
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, Field

from factory_runtime.domain.errors import InputError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.errors import MissingError
from factory_runtime.hosts.azure_devops.lookup import Linked, get_repository
from factory_runtime.hosts.azure_devops.marks import mark_of
from factory_runtime.ports import Link, WorkItem, WorkItemOrder

_PATCH = "application/json-patch+json"
_TAGS = "System.Tags"
_QUERY = (
    "SELECT [System.Id] FROM WorkItems WHERE [System.TeamProject] = @project"
    " AND [System.Tags] CONTAINS '{mark}' ORDER BY [System.Id]"
)


class _Relation(BaseModel):
    rel: str
    url: str

    @property
    def leads_to(self) -> tuple[str, str]:
        return self.rel, self.url.casefold()


class _Item(Linked):
    id: int
    relations: list[_Relation] = Field(default_factory=list[_Relation])

    def told(self, *, created: bool = False) -> WorkItem:
        return WorkItem(str(self.id), self.page("html"), created=created)


class _Reference(BaseModel):
    id: int


class _Found(BaseModel):
    items: list[_Reference] = Field(default_factory=list[_Reference], alias="workItems")


class WorkItems:
    """Those of an organisation. Raises as ``AzureDevOpsClient``."""

    def __init__(self, client: AzureDevOpsClient) -> None:
        self._client = client

    def ensure(self, tenant_id: str, order: WorkItemOrder) -> WorkItem:
        """Find or make it; one that is found gets the links it lacks."""
        project = self._client.access.project_of(tenant_id, order.project_id)
        mark = mark_of(tenant_id, order.effect_key)
        relations = list(self._relations(project, order.links))
        found = self._find(project, mark)
        if found is None:
            return self._make(project, order, mark, relations)
        there = {one.leads_to for one in found.relations}
        missing = [one for one in relations if _leads_to(one) not in there]
        if missing:
            path = route(project, "wit", "workitems", str(found.id))
            self._client.patch(_Item, path, _adding(missing), media_type=_PATCH)
        return found.told()

    def find(self, tenant_id: str, project_id: str, effect_key: str) -> WorkItem | None:
        project = self._client.access.project_of(tenant_id, project_id)
        found = self._find(project, mark_of(tenant_id, effect_key))
        return None if found is None else found.told()

    def _find(self, project: str, mark: str) -> _Item | None:
        query = {"query": _QUERY.format(mark=mark)}  # a mark has no quotes
        found = self._client.post(_Found, route(project, "wit", "wiql"), query)
        if not found.items:
            return None
        path = route(project, "wit", "workitems", str(found.items[0].id))
        return self._client.get(_Item, path, {"$expand": "all"})

    def _make(
        self, project: str, order: WorkItemOrder, mark: str, relations: Sequence[dict[str, Any]]
    ) -> WorkItem:
        if any(name.casefold() == "system.teamproject" for name in order.fields):
            raise InputError(
                "System.TeamProject is not to be set: it would lead out of the project"
            )
        tags = "; ".join(one for one in (order.fields.get(_TAGS, ""), mark) if one)
        fields = {
            **order.fields,
            "System.Title": order.title,
            "System.Description": html.escape(order.description).replace("\n", "<br>"),
            _TAGS: tags,
        }
        body = [
            {"op": "add", "path": f"/fields/{name}", "value": value}
            for name, value in fields.items()
        ]
        path = route(project, "wit", "workitems", f"${order.type}")
        try:
            made = self._client.post(_Item, path, [*body, *_adding(relations)], media_type=_PATCH)
        except MissingError as exc:
            raise InputError(f"{project} takes no work item of type {order.type}: {exc}") from exc
        return made.told(created=True)

    def _relations(self, project: str, links: Sequence[Link]) -> Iterator[dict[str, Any]]:
        """The links as the host has them, each once."""
        seen: set[tuple[str, str]] = set()
        for link in links:
            relation = self._relation(project, link)
            if _leads_to(relation) not in seen:
                seen.add(_leads_to(relation))
                yield relation

    def _relation(self, project: str, link: Link) -> dict[str, Any]:
        comment = {"comment": link.comment} if link.comment else {}
        if link.kind == "page":
            return {"rel": "Hyperlink", "url": link.target, "attributes": comment}
        name, address = _ARTIFACTS[link.kind]
        if link.kind != "build":
            if link.repository is None:
                raise InputError(f"a link to a {link.kind} does not say of which repository")
            place = get_repository(self._client, project, link.repository)
            address += f"{place.project.id}%2F{place.id}%2F"
        attributes = {"name": name, **comment}
        return {"rel": "ArtifactLink", "url": f"{address}{link.target}", "attributes": attributes}


_ARTIFACTS = {
    "commit": ("Fixed in Commit", "vstfs:///Git/Commit/"),
    "pull-request": ("Pull Request", "vstfs:///Git/PullRequestId/"),
    "build": ("Build", "vstfs:///Build/Build/"),
}


def _leads_to(relation: dict[str, Any]) -> tuple[str, str]:
    return relation["rel"], relation["url"].casefold()


def _adding(relations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"op": "add", "path": "/relations/-", "value": one} for one in relations]
