"""Builds of a pipeline. Those of ours have their mark as a tag.

A build takes no tags as it is queued: https://github.com/MicrosoftDocs/vsts-rest-api-specs/issues/83.
So it is queued, then tagged, and one that we queued and that has no mark of ours is one whose
queueing nobody could go on from. Its variables could only be set where the pipeline lets them be,
and another branch would be another build.

Routes: https://learn.microsoft.com/rest/api/azure/devops/pipelines/runs/run-pipeline, whose id is
the build's, and …/build/builds, …/build/tags (``?view=azure-devops-rest-7.1``). Who we are:
https://github.com/microsoft/azure-devops-python-api ``location_client.get_connection_data``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field

from factory_runtime.domain.errors import HostBusyError, NotFoundError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.lookup import Linked, ref_of
from factory_runtime.hosts.azure_devops.marks import is_mark, mark_of
from factory_runtime.ports import Build, BuildOrder, BuildResult, BuildStatus

SETTLING = timedelta(seconds=15)
"""A build without a mark that is younger may be about to get one, from whoever queued it."""

_SKEW = timedelta(minutes=1)
_STATUSES = {
    "completed": BuildStatus.ENDED,
    "inProgress": BuildStatus.RUNNING,
    "cancelling": BuildStatus.RUNNING,
}
_RESULTS = {
    "succeeded": BuildResult.SUCCEEDED,
    "partiallySucceeded": BuildResult.PARTIAL,
    "canceled": BuildResult.CANCELLED,
}


class _Identity(BaseModel):
    id: str = ""


class _Connection(BaseModel):
    user: _Identity = Field(alias="authenticatedUser")


class _Build(Linked):
    id: int
    number: str = Field(default="", alias="buildNumber")
    status: str = ""
    result: str | None = None
    commit: str | None = Field(default=None, alias="sourceVersion")
    reason: str = ""
    queued_at: datetime | None = Field(default=None, alias="queueTime")
    tags: list[str] = Field(default_factory=list[str])
    by: _Identity = Field(default_factory=_Identity, alias="requestedBy")

    def told(self, *, created: bool = False) -> Build:
        status = _STATUSES.get(self.status, BuildStatus.QUEUED)
        return Build(
            id=str(self.id),
            number=self.number or str(self.id),
            url=self.page(),
            status=status,
            result=_RESULTS.get(self.result or "", BuildResult.FAILED)
            if status is BuildStatus.ENDED
            else None,
            commit=self.commit,
            created=created,
        )


class _Run(BaseModel):
    id: int


class _Tags(BaseModel):
    value: list[str] = Field(default_factory=list[str])


class _Log(BaseModel):
    id: int


class Builds:
    """Those of an organisation. Raises as ``AzureDevOpsClient``.

    Args:
        client: for the organisation.
        settling: how long a build may be without its mark before it counts as forgotten.
        now: the time.
    """

    def __init__(
        self,
        client: AzureDevOpsClient,
        settling: timedelta = SETTLING,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._settling = settling
        self._now = now

    def ensure(self, tenant_id: str, order: BuildOrder) -> Build:
        project = self._client.access.project_of(tenant_id, order.project_id)
        mark = mark_of(tenant_id, order.effect_key)
        found = self._find(project, order.pipeline_id, mark, order.since)
        if found is not None:
            return found.told()
        made = self._queue(project, order)
        self._tag(project, made, mark)
        return self._only(project, order.pipeline_id, mark, made)

    def find(
        self,
        tenant_id: str,
        project_id: str,
        pipeline_id: str,
        effect_key: str,
        since: datetime | None,
    ) -> Build | None:
        project = self._client.access.project_of(tenant_id, project_id)
        found = self._find(project, pipeline_id, mark_of(tenant_id, effect_key), since)
        return None if found is None else found.told()

    def get(self, tenant_id: str, project_id: str, build_id: str) -> Build:
        """Raises NotFoundError: there is none."""
        project = self._client.access.project_of(tenant_id, project_id)
        found = self._client.find(_Build, _one(project, build_id))
        if found is None:
            raise NotFoundError(f"{self._client.access.name} has no build {build_id}")
        return found.told()

    def cancel(self, tenant_id: str, project_id: str, build_id: str) -> None:
        project = self._client.access.project_of(tenant_id, project_id)
        if self.get(tenant_id, project_id, build_id).status is not BuildStatus.ENDED:
            self._cancel(project, int(build_id))

    def read_log(self, tenant_id: str, project_id: str, build_id: str) -> Iterator[bytes]:
        """Log by log, as the host numbers them."""
        project = self._client.access.project_of(tenant_id, project_id)
        path = f"{_one(project, build_id)}/logs"
        for log in list(self._client.list(_Log, path)):
            yield from self._client.stream(f"{path}/{log.id}")
            yield b"\n"

    def _find(
        self, project: str, pipeline_id: str, mark: str, since: datetime | None
    ) -> _Build | None:
        tagged = self._tagged(project, pipeline_id, mark)
        if tagged:
            return tagged[0]
        lost = None if since is None else self._lost(project, pipeline_id, since)
        if lost is not None:
            self._tag(project, lost.id, mark)
        return lost

    def _tagged(self, project: str, pipeline_id: str, mark: str) -> list[_Build]:
        query = {"definitions": pipeline_id, "tagFilters": mark}
        found = self._client.list(_Build, route(project, "build", "builds"), query)
        return sorted((one for one in found if mark in one.tags), key=lambda one: one.id)

    def _lost(self, project: str, pipeline_id: str, since: datetime) -> _Build | None:
        """One that we queued and that nobody could mark.

        Raises:
            HostBusyError: there is one, so young that somebody may be about to.
        """
        query = {
            "definitions": pipeline_id,
            "minTime": (since - _SKEW).isoformat(),
            "queryOrder": "queueTimeAscending",
        }
        found = list(self._client.list(_Build, route(project, "build", "builds"), query))
        unmarked = [
            one for one in found if one.reason == "manual" and not any(map(is_mark, one.tags))
        ]
        if not unmarked:
            return None
        us = self._client.get(_Connection, route(None, "connectionData"), _PREVIEW).user.id
        lost = next((one for one in unmarked if one.by.id == us), None)
        if lost is not None and lost.queued_at and self._now() - lost.queued_at < self._settling:
            raise HostBusyError(
                f"build {lost.id} was queued a moment ago and does not say yet for whom",
                retry_after=self._settling,
            )
        return lost

    def _queue(self, project: str, order: BuildOrder) -> int:
        body: dict[str, Any] = {"templateParameters": dict(order.parameters)}
        if order.branch is not None:
            body["resources"] = {"repositories": {"self": {"refName": ref_of(order.branch)}}}
        path = route(project, "pipelines", order.pipeline_id, "runs")
        return self._client.post(_Run, path, body).id

    def _tag(self, project: str, build_id: int, mark: str) -> None:
        path = f"{_one(project, str(build_id))}/tags/{mark}"
        self._client.put(_Tags, path, None)

    def _only(self, project: str, pipeline_id: str, mark: str, made: int) -> Build:
        """The build of this mark: where two attempts have queued one each, the first."""
        first = next(iter(self._tagged(project, pipeline_id, mark)), None)
        if first is not None and first.id != made:
            self._cancel(project, made)
            return first.told()
        return self._client.get(_Build, _one(project, str(made))).told(created=True)

    def _cancel(self, project: str, build_id: int) -> None:
        self._client.patch(_Build, _one(project, str(build_id)), {"status": "cancelling"})


_PREVIEW = {"api-version": "7.1-preview.1"}


def _one(project: str, build_id: str) -> str:
    return route(project, "build", "builds", build_id)
