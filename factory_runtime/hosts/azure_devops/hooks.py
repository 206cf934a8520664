"""Service hooks: the host posts events to an address. Ours have their mark in the address.

Nothing else of a subscription is ours to choose and told again: its headers are shown as stars.
Routes: https://learn.microsoft.com/azure/devops/service-hooks/create-subscription and
https://learn.microsoft.com/rest/api/azure/devops/hooks/subscriptions?view=azure-devops-rest-7.1
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from factory_runtime.domain.errors import InputError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.errors import TurnedDownError
from factory_runtime.hosts.azure_devops.lookup import get_project, get_repository
from factory_runtime.hosts.azure_devops.marks import mark_of
from factory_runtime.ports import HookOrder

_SOURCE = {
    "publisherId": "tfs",
    "consumerId": "webHooks",
    "consumerActionId": "httpRequest",
}


class _Subscription(BaseModel):
    id: str
    status: str = "enabled"
    inputs: dict[str, str | None] = Field(
        default_factory=dict[str, str | None], alias="consumerInputs"
    )


class Hooks:
    """Those of an organisation. Raises as ``AzureDevOpsClient``."""

    def __init__(self, client: AzureDevOpsClient) -> None:
        self._client = client

    def ensure(self, tenant_id: str, order: HookOrder) -> str:
        """Find or make it; its id.

        Raises:
            InputError: the projects of tenants are not told apart, and its events would be told
                to one of them that may not be theirs.
            TurnedDownError: it was made and is disabled.
        """
        if not self._client.access.keeps_tenants_apart:
            raise InputError(
                "tenants share the projects of this organisation: who hears of one hears of all",
                hint="have `projects` of its block name {tenant}, or give each tenant a block",
            )
        project = self._client.access.project_of(tenant_id, order.project_id)
        mark = f"factory_hook={mark_of(tenant_id, order.effect_key)}"
        path = route(None, "hooks", "subscriptions")
        listed = self._client.list(_Subscription, path, {**_SOURCE, "eventType": order.event})
        found = next((one for one in listed if mark in (one.inputs.get("url") or "")), None)
        if found is not None and found.status.startswith("disabled"):
            raise TurnedDownError(
                f"the service hook {found.id} is there and {found.status}",
                hint="enable it in the settings of its project, or remove it and ask again",
            )
        if found is not None:
            return found.id
        told_of = {"projectId": get_project(self._client, project).id}
        if order.repository is not None:
            told_of["repository"] = get_repository(self._client, project, order.repository).id
        url = f"{order.url}{'&' if '?' in order.url else '?'}{mark}"
        told = {"url": url, "resourceDetailsToSend": "all"}
        if order.headers:
            told["httpHeaders"] = "\n".join(f"{k}:{v}" for k, v in order.headers.items())
        if order.login is not None:
            told["basicAuthUsername"], told["basicAuthPassword"] = order.login
        body = {
            **_SOURCE,
            "eventType": order.event,
            "resourceVersion": "1.0",
            "publisherInputs": told_of,
            "consumerInputs": told,
        }
        return self._client.post(_Subscription, path, body).id
