"""What we may do in an organisation, as far as looking tells: nothing is made, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, Field

from factory_runtime.domain.errors import HostRejectedError, InputError
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.lookup import get_project
from factory_runtime.ports import GitHost, HostFindings

_PREVIEW = {"api-version": "7.1-preview.1"}
_NOBODYS = "factory-doctor"
"""The name and the key of what is looked for: it need not be there."""


class _Identity(BaseModel):
    name: str = Field(default="", alias="providerDisplayName")


class _Connection(BaseModel):
    user: _Identity = Field(alias="authenticatedUser")


def inspect(
    client: AzureDevOpsClient, host: GitHost, tenant_id: str, project_id: str
) -> HostFindings:
    """Ask who we are, and look at one of each kind that we make.

    Raises:
        HostBusyError: it does not answer.
        HostRejectedError: it does not accept the token.
    """
    who = client.get(_Connection, route(None, "connectionData"), _PREVIEW).user.name
    name = client.access.name
    try:
        get_project(client, client.access.project_of(tenant_id, project_id))
    except (InputError, HostRejectedError) as error:
        return HostFindings(name, who, (str(error),))
    said = (_refused(look) for look in _looks(host, tenant_id, project_id))
    return HostFindings(name, who, tuple(one for one in said if one is not None))


def _looks(host: GitHost, tenant_id: str, project_id: str) -> tuple[Callable[[], object], ...]:
    delivery = host.delivery_of(tenant_id)
    repositories = (lambda: host.find_repository(tenant_id, project_id, _NOBODYS),)
    if delivery is None:
        return repositories
    return (
        *repositories,
        lambda: delivery.find_pipeline(tenant_id, project_id, _NOBODYS, effect_key=_NOBODYS),
        lambda: delivery.find_work_item(tenant_id, project_id, effect_key=_NOBODYS),
    )


def _refused(look: Callable[[], object]) -> str | None:
    try:
        look()
    except HostRejectedError as error:
        return str(error)
    return None
