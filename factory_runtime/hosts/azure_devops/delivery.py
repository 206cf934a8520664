"""What Azure DevOps offers beside repositories."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from factory_runtime.hosts.azure_devops.builds import SETTLING, Builds
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient
from factory_runtime.hosts.azure_devops.hooks import Hooks
from factory_runtime.hosts.azure_devops.pipelines import Pipelines
from factory_runtime.hosts.azure_devops.pull_requests import PullRequests
from factory_runtime.hosts.azure_devops.work_items import WorkItems
from factory_runtime.ports import (
    Build,
    BuildOrder,
    HookOrder,
    Pipeline,
    PipelineOrder,
    PullRequest,
    PullRequestOrder,
    WorkItem,
    WorkItemOrder,
)


class AzureDevOpsDelivery:
    """Implements ports.Delivery over one organisation.

    Args:
        client: for the organisation.
        settling: as in ``Builds``.
    """

    def __init__(self, client: AzureDevOpsClient, settling: timedelta = SETTLING) -> None:
        self._pipelines = Pipelines(client)
        self._builds = Builds(client, settling)
        self._pull_requests = PullRequests(client)
        self._work_items = WorkItems(client)
        self._hooks = Hooks(client)

    def ensure_pipeline(self, tenant_id: str, order: PipelineOrder) -> Pipeline:
        return self._pipelines.ensure(tenant_id, order)

    def find_pipeline(
        self, tenant_id: str, project_id: str, name: str, *, effect_key: str
    ) -> Pipeline | None:
        return self._pipelines.find(tenant_id, project_id, name, effect_key)

    def ensure_build(self, tenant_id: str, order: BuildOrder) -> Build:
        return self._builds.ensure(tenant_id, order)

    def find_build(
        self,
        tenant_id: str,
        project_id: str,
        pipeline_id: str,
        *,
        effect_key: str,
        since: datetime | None = None,
    ) -> Build | None:
        return self._builds.find(tenant_id, project_id, pipeline_id, effect_key, since)

    def get_build(self, tenant_id: str, project_id: str, build_id: str) -> Build:
        return self._builds.get(tenant_id, project_id, build_id)

    def cancel_build(self, tenant_id: str, project_id: str, build_id: str) -> None:
        self._builds.cancel(tenant_id, project_id, build_id)

    def read_log(self, tenant_id: str, project_id: str, build_id: str) -> Iterator[bytes]:
        return self._builds.read_log(tenant_id, project_id, build_id)

    def ensure_pull_request(self, tenant_id: str, order: PullRequestOrder) -> PullRequest:
        return self._pull_requests.ensure(tenant_id, order)

    def find_pull_request(
        self, tenant_id: str, project_id: str, repository: str, *, effect_key: str
    ) -> PullRequest | None:
        return self._pull_requests.find(tenant_id, project_id, repository, effect_key)

    def abandon_pull_request(
        self, tenant_id: str, project_id: str, repository: str, pull_request_id: str
    ) -> None:
        self._pull_requests.abandon(tenant_id, project_id, repository, pull_request_id)

    def ensure_work_item(self, tenant_id: str, order: WorkItemOrder) -> WorkItem:
        return self._work_items.ensure(tenant_id, order)

    def find_work_item(
        self, tenant_id: str, project_id: str, *, effect_key: str
    ) -> WorkItem | None:
        return self._work_items.find(tenant_id, project_id, effect_key)

    def ensure_hook(self, tenant_id: str, order: HookOrder) -> str:
        return self._hooks.ensure(tenant_id, order)
